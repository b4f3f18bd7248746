"""The measurements of start.sh, which prepares the world that they run in."""

import hashlib
import os
import pty
import shutil
import statistics
import subprocess
import threading
import time

import keys
from world import ENV, ROUNDS, VM, WORLD, memory, template, wrapped_qemu

KERNEL = os.environ["BENCH_KERNEL"]
BARE = [
    "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-machine", "q35,usb=off,sata=off,smbus=off,i8042=off", "-accel", "tcg", "-cpu", "max,erms=off,fsrm=off", "-smp", "1", "-m", "256M",
    "-kernel", KERNEL, "-initrd", f"{WORLD}/bare.cpio",
    "-append", "quiet panic=-1 cryptomgr.notests random.trust_cpu=on no_timer_check lsm=landlock,yama psi=0 noreplace-smp "
    "nolapic_timer swiotlb=noforce initcall_blacklist=ftrace_check_for_weak_functions,trace_eval_init",
]


def run(argv, warm=True, **more):
    env = dict(ENV, VMCLAUDE_WARM_START="1" if warm else "0")
    return subprocess.run(argv, env=env, cwd=f"{WORLD}/p", check=True, **more)


def whole(argv, warm=True):
    start = time.monotonic()
    run(argv, warm, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def use_bare():
    """From now on vmclaude boots a session's machine with a busybox that powers off in place of all that is ours in the guest."""
    config = f"{WORLD}/home/.config/vmclaude/config.toml"
    os.makedirs(os.path.dirname(config), exist_ok=True)
    qemu = wrapped_qemu(shutil.which(BARE[0]), f'[ "${{words[n]}}" != -initrd ] || words[n + 1]={WORLD}/bare.cpio')
    with open(config, "w") as file:
        file.write(f'qemu = "{qemu}"\nwarm_start = false\n')


def floor():
    """What a cold start takes at least: the bare boot with a session's memory, processors, devices and words for the kernel."""
    start = time.monotonic()
    done = subprocess.run([VM, "true"], env=ENV, cwd=f"{WORLD}/p", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = time.monotonic() - start
    assert done.returncode == 125 and "reboot: Power down" in done.stderr, done
    return took


def first_byte(warm):
    env = dict(ENV, VMCLAUDE_WARM_START="1" if warm else "0")
    start = time.monotonic()
    argv = [VM, "sh", "-c", "echo x"]
    child = subprocess.Popen(argv, env=env, cwd=f"{WORLD}/p", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    child.stdout.read(1)
    took = time.monotonic() - start
    child.communicate()
    return took


def stdout_rate():
    """100 MiB that the guest makes, less the time of a run that prints nothing; the sum is checked."""
    child = subprocess.Popen([VM, "head", "-c", str(100 << 20), "/dev/zero"], env=ENV, cwd=f"{WORLD}/p",
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    seen, first = hashlib.sha256(), None
    while block := child.stdout.read1(1 << 20):
        first = first or time.monotonic()
        seen.update(block)
    took = time.monotonic() - first
    child.wait()
    assert seen.digest() == hashlib.sha256(bytes(100 << 20)).digest(), "wrong bytes"
    return 100 * 1.048576 / took


def stdin_rate():
    data = os.urandom(32 << 20)
    start = time.monotonic()
    done = run([VM, "sha256sum"], input=data, stdout=subprocess.PIPE)
    took = time.monotonic() - start
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest(), "wrong bytes"
    return 32 * 1.048576 / took


def drain(pipe):
    while os.read(pipe, 1 << 20):
        pass


def echo(beside=""):
    """The time from a key to its echo by a guest's cat, in milliseconds: each of them. `beside`: what another program of the
    guest does meanwhile; its stderr is a pipe that somebody reads."""
    out, into = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(f"{WORLD}/p")
        script = "stty raw -echo </dev/tty; echo ready >/dev/tty; exec cat </dev/tty >/dev/tty"
        if beside:
            os.dup2(into, 2)
            script = script.replace("exec", f"{beside} & exec")
        os.execve(VM, [VM, "sh", "-c", script], ENV)
    os.close(into)
    threading.Thread(target=drain, args=(out,), daemon=True).start()
    keys.ready(terminal, VM, env=ENV, cwd=f"{WORLD}/p")
    ours, times = memory(pid), keys.echoes(terminal, 200)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return times, ours


def show(name, values, unit, anchor=None, goal=""):
    middle = statistics.median(values)
    ratio = f"{middle / anchor:6.2f}x" if anchor else "       "
    print(f"| {name:38} | {middle:8.3f} {unit:4} | {min(values):.3f} - {max(values):.3f} | {ratio} | {goal} |", flush=True)
    return middle


def main():
    print("fastest bare boot: " + " ".join(BARE).replace(WORLD, "WORLD").replace(KERNEL, "WORLD/vmlinux"))
    whole([VM, "true"])  # the verdict about KVM, and the template's maker
    template()
    whole([VM, "claude", "--version"])  # it has a template of its own
    template(2)
    time.sleep(1)
    measures = {
        "bare": lambda: whole(BARE),
        "true cold": lambda: whole([VM, "true"], False),
        "true warm": lambda: whole([VM, "true"]),
        "byte cold": lambda: first_byte(False),
        "byte warm": lambda: first_byte(True),
        "claude cold": lambda: whole([VM, "claude", "--version"], False),
        "claude warm": lambda: whole([VM, "claude", "--version"]),
    }
    times = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            times[name].append(measure())
    print(f"\n{ROUNDS} rounds in turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| what | median | range | to the bare boot | goal |\n| --- | --- | --- | --- | --- |")
    bare = show("bare boot, busybox, power-off", times["bare"], "s", None)
    show("vmclaude-container true, cold", times["true cold"], "s", bare, "<= 1.25x")
    show("vmclaude-container true, warm", times["true warm"], "s", bare, "<= 0.30x")
    show("first byte, cold", times["byte cold"], "s", bare)
    show("first byte, warm", times["byte warm"], "s", bare, "<= 0.25x")
    show("claude --version, cold", times["claude cold"], "s", bare)
    show("claude --version, warm", times["claude warm"], "s", bare, "<= 1.0x")
    show("stdout, 100 MiB, sum checked", [stdout_rate() for _ in range(3)], "MB/s", None, ">= 45 MB/s")
    show("stdin, 32 MiB, start included", [stdin_rate() for _ in range(3)], "MB/s")
    typed, (ours, qemu) = echo()
    idle = show("echo through the terminal", typed, "ms", None, "<= 3 ms")
    show("the same while output flows", echo(beside="head -c 1T /dev/zero >&2")[0], "ms", None, f"<= {3 * idle:.2f} ms")
    show("the same while a program computes", echo(beside="while :; do :; done")[0], "ms")
    show("memory of ours per session, private", [ours], "MiB", None, "<= 30 MiB")
    show("QEMU's own, beside the guest's memory", [qemu], "MiB")
    use_bare()
    floor()  # for another QEMU it is found out once more whether KVM works, so this has turns of its own
    turns = [(whole(BARE), floor()) for _ in range(ROUNDS)]
    bare = statistics.median(took for took, _ in turns)
    show("the bare boot in a session's machine", [took for _, took in turns], "s", bare)


main()
