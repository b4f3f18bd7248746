"""What stale.sh measures, in the world that it prepared: the same file work through two share servers, in turns."""

import os
import shutil
import statistics

from files import TIMED, measured, tree
from world import ENV, ROUNDS, VM, WORLD

FILES = int(os.environ["BENCH_FILES"])
PROGRAMS = {"as it is": VM, "believing": f"{WORLD}/believing/vmclaude-container"}
# Each twice, because what is believed is known only after the first time. And every file's bytes, which neither keeps.
WORK = {
    "find": "find src -type f",
    "find, with sizes": "find src -type f -size +1000k",
    "git status": "git status --short",
    "rg, every file": "rg --threads 1 --count needle src",
    "cat, every file": "cat src/*/*/*",
}
GUEST = TIMED + "".join(f"timed '{name}, {time}' bash -c '{work}'\n" for name, work in WORK.items() for time in ("first", "again"))


def main():
    project = f"{WORLD}/p"
    shutil.rmtree(project)
    tree(project, FILES)
    env = {**ENV, "VMCLAUDE_WARM_START": "0"}
    times = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            times[name].append(measured([program, "bash", "-c", GUEST], project, env))
    print(f"{FILES} files, {ROUNDS} rounds in turns, milliseconds, median (least)\n")
    print("| what | " + " | ".join(PROGRAMS) + " | ratio of the medians |\n|" + " --- |" * (len(PROGRAMS) + 2))
    for what in times["as it is"][0]:
        took = {name: [t[what] for t in times[name]] for name in PROGRAMS}
        cells = [f"{statistics.median(ms):.0f} ({min(ms)})" for ms in took.values()]
        ratio = statistics.median(took["as it is"]) / max(1, statistics.median(took["believing"]))
        print(f"| {what} | " + " | ".join(cells) + f" | {ratio:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
