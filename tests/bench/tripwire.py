"""Run by tripwire.sh."""

import os
import re
import statistics
import subprocess

from world import ENV, ROUNDS, VM, WORLD, template

# The walk's bound is 200,000 names, the directories among them.
SIZES = [1_000, 20_000, 190_000]


def grow(have, want):
    """Makes the files from number `have` to `want`, 100 in a directory."""
    for n in range(have, want):
        directory = f"{WORLD}/p/d{n // 10_000}/s{n // 100}"
        if n % 100 == 0:
            os.makedirs(directory)
        with open(f"{directory}/f{n}.js", "w"):
            pass


def phases():
    """Milliseconds of the waits of one session: before its command and after its end."""
    done = subprocess.run(
        [VM, "true"], env=ENV | {"VMCLAUDE_PROFILE": "1"}, cwd=f"{WORLD}/p", stdin=subprocess.DEVNULL,
        capture_output=True, check=True, text=True,
    )
    waits = re.findall(r"\+([0-9.]+)  the project was looked at( again)?", done.stderr)
    return [float(wait) for wait, _ in waits]


def main():
    have = 0
    print("| files | the command waits for it | after the end | range |")
    print("| --- | --- | --- | --- |")
    for size in SIZES:
        grow(have, size)
        have = size
        phases()  # the verdict about KVM, and what the kernel keeps of the tree
        template()
        before, after = zip(*(phases() for _ in range(ROUNDS)))
        row = (f"{statistics.median(before):.0f} ms", f"{statistics.median(after):.0f} ms", f"{min(after):.0f} - {max(after):.0f}")
        print(f"| {size} | {' | '.join(row)} |", flush=True)


main()
