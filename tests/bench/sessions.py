"""What sessions.sh measures, in the world that it prepared."""

import os
import shutil
import statistics
import subprocess
import sys
import time

from world import ENV, ROUNDS, VM, WORLD, memory, template

# Every machine's memory here: twenty of the usual size are refused on a host of 24 GiB, because they could grow to more than it has.
MEMORY = "700M"
ENV["VMCLAUDE_MEMORY"] = MEMORY
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def took(argv, **more):
    start = time.monotonic()
    subprocess.run(argv, env=ENV, cwd=f"{WORLD}/p", check=True, **QUIET, **more)
    return time.monotonic() - start


def available():
    """Memory that the host could still give away, in MiB."""
    line = next(line for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 1024


def session():
    """A session that idles until its stdin ends; returned when its command runs."""
    child = subprocess.Popen([VM, "sh", "-c", "echo ready; exec cat"], env=ENV, cwd=f"{WORLD}/p",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if child.stdout.readline() != b"ready\n":
        sys.exit("a session did not start")
    return child


def growth():
    print("| sessions | start to exit of `true` meanwhile | ours, each | QEMU's own, each | of the host's memory, each |")
    print("| --- | --- | --- | --- | --- |")
    before, running = available(), []
    for count in (0, 1, 5, 20):
        while len(running) < count:
            running.append(session())
        starts = [took([VM, "true"]) for _ in range(ROUNDS)]
        each = [memory(child.pid) for child in running]
        ours, qemu = (statistics.median(m[n] for m in each) if each else 0 for n in (0, 1))
        used = (before - available()) / count if count else 0
        print(f"| {count} | {statistics.median(starts):.2f} s ({min(starts):.2f} - {max(starts):.2f}) "
              f"| {ours:.1f} MiB | {qemu:.0f} MiB | {used:.0f} MiB |", flush=True)
    start = time.monotonic()
    for child in running:
        child.stdin.close()
    codes = {child.wait() for child in running}
    print(f"\nall {len(running)} ended together in {time.monotonic() - start:.2f} s, with exit codes {codes}\n")


def rivals():
    """Start to exit of `true`, in turns."""
    ways = {"vmclaude-container true, warm": lambda: took([VM, "true"])}
    if shutil.which("podman"):
        root = f"{WORLD}/container"
        os.makedirs(f"{root}/bin")
        shutil.copy(shutil.which("busybox"), f"{root}/bin/true")
        # Limits that a host which has limits of its own lets it set.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
        words = os.environ.get("PODMAN_OPTIONS", "").split()
        argv = ["podman", *words, "run", "--rm", "--network", "none", *limits, "--rootfs", root, "/bin/true"]
        ways["podman run (no kernel of its own)"] = lambda argv=argv: took(argv, stderr=subprocess.DEVNULL)
    else:
        print("podman: left out, it is not here")
    vng, kernel = os.environ.get("VNG"), os.environ.get("VNG_KERNEL")
    if vng and kernel:
        # It calls its other programs by name.
        path = f"PATH={os.path.dirname(vng)}:{ENV['PATH']}"
        argv = ["env", path, vng, "--run", kernel, "--disable-kvm", "--memory", MEMORY, "--cpus", "1", "--exec", "true"]
        ways["virtme-ng"] = lambda argv=argv: took(argv, stderr=subprocess.DEVNULL)
    else:
        print("virtme-ng: left out (VNG=its program VNG_KERNEL=a kernel with its modules)")
    times = {way: [] for way in ways}
    for way, start in list(ways.items()):
        try:
            start()
        except subprocess.CalledProcessError as error:
            print(f"{way}: left out, it ends with {error.returncode}")
            del ways[way], times[way]
    for _ in range(ROUNDS):
        for way, start in ways.items():
            times[way].append(start())
    ours = statistics.median(times["vmclaude-container true, warm"])
    print("\n| what | start to exit of `true` | to ours |\n| --- | --- | --- |")
    for way, all_ in times.items():
        middle = statistics.median(all_)
        print(f"| {way} | {middle:.2f} s ({min(all_):.2f} - {max(all_):.2f}) | {middle / ours:.2f}x |")


def main():
    took([VM, "true"])  # the verdict about KVM, and the template's maker
    template()
    print(f"{ROUNDS} rounds, machines of {MEMORY}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    growth()
    rivals()


main()
