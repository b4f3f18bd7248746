"""What watching.sh measures, in the world that it prepared: processor time of ours while the guest writes, with and without
`[watch]`."""

import os
import shutil
import statistics
import subprocess
import sys
import time

from world import ENV, ROUNDS, VM, WORLD, tree

CONFIG = f"{WORLD}/home/.config/vmclaude/config.toml"
PROJECT = f"{WORLD}/p"
# Each is done in a directory of its own, when it is told.
WORK = {
    "20,000 lines appended to one file": """
with open('log', 'wb', buffering=0) as log:
    for n in range(20000): log.write(b'a line of a log, as a dev server writes one for each request\\n')
""",
    "2,000 files made": """
for n in range(2000):
    with open(str(n), 'wb') as file: file.write(b'x' * 3000)
""",
    "2,000 files written anew": """
for n in range(2000):
    with open(str(n), 'wb') as file: file.write(b'y' * 3000)
""",
    "2,000 files removed": """
for n in range(2000): os.unlink(str(n))
""",
    "the guest does nothing, 5 s": "time.sleep(5)",
}
GUEST = "import os, time\n" + "".join(
    f"while not os.path.exists('go{n}'): time.sleep(0.05)\n{work}\nopen('done{n}', 'w').close()\n"
    for n, work in enumerate(WORK.values())
)


def used(pid):
    """Processor time of a process, in milliseconds."""
    threads = os.listdir(f"/proc/{pid}/task")
    return sum(int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0]) for t in threads) / 1e6


def shares(pid):
    """The share server's two processes."""
    return [p for p in tree(pid) if b"__share" in open(f"/proc/{p}/cmdline", "rb").read().split(b"\0")[1:2]]


def wait(name, session):
    limit = time.monotonic() + 300
    while not os.path.exists(f"{PROJECT}/{name}"):
        if session.poll() is not None or time.monotonic() > limit:
            sys.exit(f"the guest never made {name}")
        time.sleep(0.01)


def measured(watch):
    """Milliseconds of the server and of the session's process, for each work."""
    shutil.rmtree(PROJECT)
    os.mkdir(PROJECT)
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    with open(CONFIG, "w") as config:
        config.write(f"[watch]\nenabled = {str(watch).lower()}\n")
    with open(f"{PROJECT}/guest.py", "w") as script:
        script.write(GUEST)
    env = {**ENV, "VMCLAUDE_WARM_START": "0"}
    session = subprocess.Popen([VM, "sh", "-c", "touch ready; python3 guest.py"], cwd=PROJECT, env=env, stdin=subprocess.DEVNULL)
    wait("ready", session)
    server, row = shares(session.pid), []
    for n in range(len(WORK)):
        # What the last one set off is over.
        time.sleep(0.3)
        now = lambda: (sum(map(used, server)), used(session.pid))
        before = now()
        open(f"{PROJECT}/go{n}", "w").close()
        wait(f"done{n}", session)
        row.append([after - was for after, was in zip(now(), before)])
    session.wait()
    return row


def main():
    times = {True: [], False: []}
    for _ in range(ROUNDS):
        for watch in times:
            times[watch].append(measured(watch))
    print(f"{ROUNDS} rounds in turns, milliseconds of processor time, median (least): the share server, and the session's process\n")
    print("| what | server, watched | server, not | session, watched | session, not |\n|" + " --- |" * 5)
    for n, what in enumerate(WORK):
        cells = []
        for which in (0, 1):
            for watch in times:
                took = [row[n][which] for row in times[watch]]
                cells.append(f"{statistics.median(took):.0f} ({min(took):.0f})")
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


main()
