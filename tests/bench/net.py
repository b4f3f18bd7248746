"""What the terminal feels of a download, and what a download costs the host: `net.py VMCLAUDE-CONTAINER SERVER`. Called by
tests/bench/net, in the project and with the home that it has made."""

import os
import pty
import statistics
import subprocess
import sys

import keys

VM, SERVER = sys.argv[1:3]
URL = f"http://{SERVER}/200M"
CURL = f"curl -sS --noproxy '*' -o /dev/null {URL}"
PRIORITY = ["chrt", "-r", "10"] if os.environ.get("CHRT") else []
WORDS = [*PRIORITY, "env", "VMCLAUDE_WARM_START=0", VM]


def echo(beside=""):
    """The median time from a key to its echo by a guest's cat, in milliseconds, while the guest does `beside`."""
    pid, terminal = pty.fork()
    if pid == 0:
        script = f"stty raw -echo; {beside} echo ready; exec cat"
        os.execvp(WORDS[0], [*WORDS, "sh", "-c", script])
    keys.ready(terminal, VM)
    times = keys.echoes(terminal, 200)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return statistics.median(times)


def seconds(pid):
    """The processor time of a process so far."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def peak(pid):
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def machine(pid):
    """The child of ours that is the machine."""
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    return next(child for child in children if "qemu" in os.path.basename(os.readlink(f"/proc/{child}/exe")))


def cost():
    """Processor time of our process and of QEMU for 100 MB of a download, and the peak of our process's memory in MiB."""
    script = f"echo ready; read go; {CURL} && {CURL}; echo done; read end"
    run = subprocess.Popen([*WORDS, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "ready\n"
    pids = [run.pid, machine(run.pid)]
    with open(f"/proc/{run.pid}/clear_refs", "w") as reset:
        reset.write("5")  # the peak is counted from here
    before = [seconds(pid) for pid in pids]
    run.stdin.write("\n")
    run.stdin.flush()
    assert run.stdout.readline() == "done\n"
    after = [seconds(pid) for pid in pids]
    ours = peak(run.pid)
    run.communicate("\n")
    return *((b - a) / 4.194304 for a, b in zip(before, after)), ours


ours, qemu, memory = cost()
print(f"cost of 100 MB on the host: {ours:.2f} s of our process, {qemu:.2f} s of QEMU; our process's memory: {memory:.1f} MiB at its peak")
idle, busy = echo(), echo(f"(while :; do {CURL}; done) &")
print(f"echo through the terminal: {idle:.2f} ms, during a download {busy:.2f} ms: {busy / idle:.2f} x")
