#!/usr/bin/env python3
"""Unmodified watchers in a VM: whether they hear of every edit of the host, once, and how long that takes.

    tests/bench/watchers.py [EDITS] [WATCHER...]     (default 100 and all; 1000 take some minutes where the VM is emulated)

Installs chokidar and Vite with npm, watchdog with pip, and unpacks Debian's inotify-tools, all under target/watchers. Each
watcher then runs on the host and in a VM, on copies of the same project, and a file is edited so often, each time after
the watcher has heard of the last edit: on the host, from the host in a VM, and by a program in a VM, which is the watcher's own
delay there. Prints for each: edits, heard, invented, and the milliseconds from edit to hearing (median, 95 %, most), as the
one who edits sees it. Fails when something was lost or invented in the VM.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KIT = ROOT / 'target/watchers'
PROGRAM = ROOT / 'target/release/vmclaude'
DATA = ROOT / 'target/tests/data'

SCRIPTS = {
    'chokidar.mjs': '''
import chokidar from 'chokidar'
import fs from 'node:fs'
const say = (line) => fs.appendFileSync('log', line + '\\n')
chokidar.watch('src', { ignoreInitial: true }).on('ready', () => say('ready')).on('change', () => say('heard'))
''',
    'vite.mjs': '''
import { createServer } from 'vite'
import fs from 'node:fs'
const say = (line) => fs.appendFileSync('log', line + '\\n')
const server = await createServer({ root: 'src', logLevel: 'silent', server: { middlewareMode: true, ws: false } })
server.watcher.on('change', () => say('heard'))
// Its watcher may have been ready before anybody could listen.
const known = () => Object.values(server.watcher.getWatched()).flat().includes('f.txt')
const look = setInterval(() => { if (known()) { clearInterval(look); say('ready') } }, 50)
setTimeout(() => {}, 1 << 30)
''',
    'dog.py': '''
import sys, time
sys.path.insert(0, 'kit/py')
from watchdog.observers import Observer
from watchdog.events import FileSystemEventHandler
def say(line):
    with open('log', 'a') as log: log.write(line + '\\n')
class Handler(FileSystemEventHandler):
    def on_closed(self, event):
        if event.src_path.endswith('f.txt'): say('heard')
observer = Observer()
observer.schedule(Handler(), 'src', recursive=True)
observer.start()
say('ready')
time.sleep(1 << 20)
''',
}
WATCHERS = {
    'inotifywait': 'LD_LIBRARY_PATH=$(echo kit/deb/usr/lib/*) kit/deb/usr/bin/inotifywait -q -m -r -e close_write --format heard -o log src',
    'chokidar': 'node chokidar.mjs',
    'vite': 'node vite.mjs',
    'watchdog': 'python3 dog.py',
}


def install():
    KIT.mkdir(parents=True, exist_ok=True)
    run = lambda *words: subprocess.run(words, cwd=KIT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not (KIT / 'node_modules/vite').exists():
        run('npm', 'init', '-y')
        run('npm', 'install', '--no-audit', '--no-fund', 'chokidar', 'vite')
    if not (KIT / 'py/watchdog').exists():
        run('python3', '-m', 'pip', 'install', '-q', '--target', 'py', 'watchdog')
    if not (KIT / 'deb').exists():
        run('apt-get', 'download', 'inotify-tools', 'libinotifytools0')
        for package in KIT.glob('*.deb'):
            run('dpkg', '-x', package.name, 'deb')


def project(directory):
    (directory / 'src').mkdir(parents=True)
    (directory / 'src/f.txt').write_text('0')
    (directory / 'src/index.html').write_text('<html></html>')
    for name, text in SCRIPTS.items():
        (directory / name).write_text(text)
    shutil.copytree(KIT, directory / 'kit', symlinks=True)
    os.symlink('kit/node_modules', directory / 'node_modules')


def lines(directory):
    log = directory / 'log'
    return log.read_text().splitlines() if log.exists() else []


def wait(what, is_so, limit=120):
    end = time.monotonic() + limit
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


# Edits inside as the host does from outside. There may be one processor, so it looks at the log's length only, and less often.
EDITOR = '''
import os, sys, time
edits = int(sys.argv[1])
def lines():
    try: return os.stat('log').st_size // len('heard\\n')
    except FileNotFoundError: return 0
before, took = lines(), []
for n in range(edits):
    start = time.monotonic()
    with open('src/f.txt', 'w') as file: file.write(str(n))
    end = start + 20
    while lines() <= before + n and time.monotonic() < end: time.sleep(0.003)
    if lines() > before + n: took.append((time.monotonic() - start) * 1000)
    time.sleep(0.12)
with open('took.new', 'w') as out: out.write('\\n'.join(map(str, took)))
os.rename('took.new', 'took')
'''


def edited(directory, edits):
    """The milliseconds that each edit took to be heard of."""
    took, before = [], len(lines(directory))
    for n in range(edits):
        start = time.monotonic()
        (directory / 'src/f.txt').write_text(str(n))
        if wait('heard', lambda: len(lines(directory)) > before + n, 20):
            took.append((time.monotonic() - start) * 1000)
        # Watchers join what comes at once.
        time.sleep(0.12)
    return took


def edited_inside(directory, edits):
    (directory / 'go').write_text(str(edits))
    assert wait('edited', lambda: (directory / 'took').exists(), 60 + edits), 'nothing was edited inside'
    return [float(line) for line in (directory / 'took').read_text().split()]


def measure(name, where, edits):
    vm = where != 'host'
    with tempfile.TemporaryDirectory() as top:
        directory = Path(top) / 'p'
        project(directory)
        (directory / 'editor.py').write_text(EDITOR)
        inside = '(until [ -s go ]; do sleep 0.05; done; exec python3 editor.py "$(cat go)") & ' if where == 'inside' else ''
        command = ['bash', '-c', inside + WATCHERS[name]]
        environment = dict(os.environ)
        if vm:
            program = Path(top) / 'vmclaude-container'
            os.symlink(PROGRAM, program)
            command = [program, *command]
            home = Path(top) / 'home'
            home.mkdir()
            environment.update(HOME=str(home), XDG_DATA_HOME=str(DATA), VMCLAUDE_WARM_START='0')
        watcher = subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL)
        try:
            if name == 'inotifywait':
                # It says nothing when it is ready: edits until it hears.
                edit = lambda: (directory / 'src/f.txt').write_text('x') and time.sleep(0.3)
                assert wait('ready', lambda: edit() or lines(directory))
            else:
                assert wait('ready', lambda: 'ready' in lines(directory)), 'it never got ready'
            time.sleep(1)
            before = len(lines(directory))
            took = (edited_inside if where == 'inside' else edited)(directory, edits)
            time.sleep(1)
            heard = len(lines(directory)) - before
        finally:
            watcher.terminate()
            watcher.wait()
        took.sort()
        at = lambda share: took[min(len(took) - 1, int(len(took) * share))] if took else float('nan')
        print(f'{name:12} {where:6} {edits:6} {heard:6} {heard - edits:9} {at(.5):8.0f} {at(.95):8.0f} {at(1):8.0f}', flush=True)
        return heard == edits


def main():
    edits = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    install()
    print(f'{"watcher":12} {"where":6} {"edits":>6} {"heard":>6} {"invented":>9} {"median":>8} {"95 %":>8} {"most":>8}')
    # On the host, from the host in a VM, by a program in a VM.
    right = [measure(name, where, edits) or where == 'host' for name in sys.argv[2:] or WATCHERS for where in ('host', 'VM', 'inside')]
    sys.exit(0 if all(right) else 1)


main()
