"""What the benchmarks share: the world that world.sh made, and a warm start's template in it."""

import os
import sys
import time

WORLD, ROUNDS = os.environ["BENCH_WORLD"], int(os.environ["BENCH_ROUNDS"])
VM = f"{WORLD}/bin/vmclaude-container"
ENV = {"HOME": f"{WORLD}/home", "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8"}


def template(count=1):
    """Waits for the templates that first runs have made aside."""
    templates, limit = f"{WORLD}/home/.cache/vmclaude/templates", time.monotonic() + 240
    while not (os.path.isdir(templates) and sum(len(name) == 32 for name in os.listdir(templates)) >= count):
        if time.monotonic() > limit:
            sys.exit("no template was made")
        time.sleep(0.1)


def wrapped_qemu(program, edit):
    """A QEMU for `config.toml`: `program` with its words changed by `edit`, a line of bash that is run for each: it is `${words[n]}`."""
    path = f"{WORLD}/bin/qemu"
    with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
        file.write(f"""#!/bin/bash
words=("$@")
for n in "${{!words[@]}}"; do
  {edit}
done
exec {program} "${{words[@]}}"
""")
    return path


def tree(pid):
    """A process and all below it."""
    children = [int(c) for t in os.listdir(f"/proc/{pid}/task") for c in open(f"/proc/{pid}/task/{t}/children").read().split()]
    return [pid] + [p for child in children for p in tree(child)]


def memory(pid):
    """Private memory of ours and QEMU's anonymous memory (the guest's is not part of it), in MiB."""
    ours = qemu = 0
    for process in tree(pid):
        try:
            lines = open(f"/proc/{process}/smaps_rollup").read().splitlines()[1:]
            name = open(f"/proc/{process}/comm").read()
        except OSError:
            continue  # it is another user's, or over
        sums = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        if name.startswith("qemu"):
            qemu += sums["Anonymous"]
        else:
            ours += sums["Private_Dirty"] + sums["Private_Clean"]
    return ours, qemu
