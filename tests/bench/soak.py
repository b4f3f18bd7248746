"""The starts of soak.sh."""
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from statistics import median

from world import ENV, VM, WORLD, template, wrapped_qemu

WORLD = Path(WORLD)
SECONDS, AT_ONCE = int(os.environ['SOAK_SECONDS']), int(os.environ['SOAK_AT_ONCE'])
WARM, VOLUME, WITHOUT = os.environ['SOAK_WARM'] == '1', os.environ['SOAK_VOLUME'] == '1', os.environ['SOAK_WITHOUT']
LIMIT = 150  # seconds: longer than vmclaude itself waits for a machine
# A processor whose timer is dead never wakes this up.
COMMAND = 'for n in $(seq 0 $(($(nproc) - 1))); do taskset -c $n sleep 0.02; done; nproc'


def qemu():
    """QEMU's program, or one that leaves a word out."""
    program = shutil.which(os.environ['SOAK_QEMU'])
    if not WITHOUT:
        return program
    return wrapped_qemu(program, f'[[ " ${{words[n]}} " != *" {WITHOUT} "* ]] || words[n]=${{words[n]/ {WITHOUT}/}}')


def configure():
    config = WORLD / 'home/.config/vmclaude/config.toml'
    config.parent.mkdir(parents=True)
    config.write_text(f'qemu = {json.dumps(str(qemu()))}\nmemory = "1G"\nwarm_start = {json.dumps(WARM)}\n'
                      + ('[volumes]\nlocal = ["node_modules"]\n' if VOLUME else ''))


def start(project):
    words = [VM, 'sh', '-c', COMMAND]
    begin = time.monotonic()
    try:
        done = subprocess.run(words, cwd=project, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)
        why = '' if done.returncode == 0 else done.stderr
    except subprocess.TimeoutExpired:
        done, why = None, 'its command did not end'
    return time.monotonic() - begin, why, done.stdout.strip() if done else '?'


def main():
    took, lost, processors = [], [], set()
    configure()
    start(WORLD / 'p')  # What is done once: whether KVM works, and with WARM the template.
    if WARM:
        template()
    end = time.monotonic() + SECONDS

    def work(nth):
        project = WORLD / f'p{nth}'
        project.mkdir()
        while time.monotonic() < end:
            seconds, why, number = start(project)
            took.append(seconds)
            processors.add(number)
            if why:
                lost.append(why)
                print(why, flush=True)

    threads = [threading.Thread(target=work, args=(nth,)) for nth in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f'{len(took)} starts {"as copies" if WARM else "from power-on"}{" with volumes" if VOLUME else ""}, {AT_ONCE} at once, with {"/".join(sorted(processors))} processors'
          f'{" and without " + WITHOUT if WITHOUT else ""}: {len(lost)} lost; {median(took):.1f} s each (median; most {max(took):.1f})')
    return 1 if lost else 0


raise SystemExit(main())
