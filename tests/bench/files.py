"""What files.sh measures, in the world that it prepared: file work on the host, on the share, on the guest's own disk, and
where it can be had on 9p; each in the same run."""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys

from world import ENV, ROUNDS, VM, WORLD

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = [int(n) for n in os.environ["BENCH_FILES"].split()]
TIMED = open(f"{HERE}/timed.sh").read()
GUEST = TIMED + open(f"{HERE}/files-guest.sh").read()
# With the largest messages that QEMU's own advice names; the cache is the default, none, as the share is never stale either.
MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 bench /mnt"


def tree(root, files):
    """A repository of `files` files of some KiB, twenty to a directory, all of them committed."""
    words = random.Random(1).choices(["let", "value", "= request(", "needle", ");", "// reason", "\n"], k=4000)
    for n in range(files):
        directory = f"{root}/src/part{n // 400}/module{n // 20 % 20}"
        if n % 20 == 0:
            os.makedirs(directory)
        with open(f"{directory}/file{n % 20}.rs", "w") as file:
            file.write(" ".join(words[n % 97 * 10: n % 97 * 10 + 100 + n % 701]))
    git = ["git", "-C", root, "-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "gc.auto=0"]
    subprocess.run(["git", "init", "-q", root], check=True, env=ENV)
    subprocess.run([*git, "add", "-A"], check=True, env=ENV)
    subprocess.run([*git, "commit", "-qm", "all"], check=True, env=ENV)


def npm(root):
    """Adds a package with its lock and fills a cache for it; says whether that can be installed from again, offline."""
    with open(f"{root}/package.json", "w") as file:
        json.dump({"name": "bench", "version": "1.0.0", "dependencies": {"eslint": "^9", "webpack": "^5"}}, file)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--cache", f"{root}/.npm-cache"]
    # Some users' settings leave the addresses out of the lock, and then nothing of it is found in a cache.
    command.append("--omit-lockfile-registry-resolved=false")
    quiet = {"cwd": root, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # With the user's own settings for npm, which know the way to the registry; the lock then names it.
    done = subprocess.run(command, **quiet)
    shutil.rmtree(f"{root}/node_modules", ignore_errors=True)
    again = ["npm", "ci", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", "--cache", f"{root}/.npm-cache"]
    works = done.returncode == 0 and subprocess.run(again, env=ENV, **quiet).returncode == 0
    shutil.rmtree(f"{root}/node_modules", ignore_errors=True)
    if not works:
        print("npm ci: left out, its packages cannot be had, or not from its cache")
    return works


def measured(argv, project, env=ENV):
    """The milliseconds of each thing that `argv` times, from its lines: a name, a tab, the number."""
    done = subprocess.run(argv, cwd=project, env=env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{argv} ended with {done.returncode}")
    return {name: int(ms) for name, ms in (line.split("\t") for line in done.stdout.decode().splitlines())}


def guest(script):
    return [VM, "bash", "-c", script, "bench"]


def main():
    for files in SIZES:
        project = f"{WORLD}/p{files}"
        tree(project, files)
        with open(f"{project}/.bench.sh", "w") as file:
            file.write(GUEST)
        cache = ".npm-cache" if files == min(SIZES) and npm(project) else ""
        inside = f"bash .bench.sh . {cache and f'$PWD/{cache}'}"
        local = f"cp -r . /tmp/p && cd /tmp/p && {inside}"
        ways = {"host": ["bash", "-c", inside], "share": guest(inside), "guest's disk": guest(local)}
        if os.path.exists(f"{WORLD}/qemu"):
            with open(f"{WORLD}/exported", "w") as file:
                file.write(project)
            ways["9p"] = guest(f"sudo bash -c '{MOUNT} && cd /mnt && {inside}'")
        times = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, argv in ways.items():
                times[way].append(measured(argv, project))
        print(f"\n{files} files, {ROUNDS} rounds in turns, seconds, medians; the ratio is to the guest's own disk\n")
        print("| what | " + " | ".join(ways) + " | share / guest's disk |\n|" + " --- |" * (len(ways) + 2))
        for what in times["host"][0]:
            row = {way: statistics.median(t[what] for t in times[way]) / 1000 for way in ways}
            ratio = row["share"] / row["guest's disk"] if row["guest's disk"] else float("nan")
            print(f"| {what} | " + " | ".join(f"{row[way]:.2f}" for way in ways) + f" | {ratio:.1f}x |", flush=True)
        shutil.rmtree(project)


if __name__ == "__main__":
    main()
