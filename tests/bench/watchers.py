#!/usr/bin/env python3
"""Unmodified watchers in a VM: whether they hear of every edit of the host, once, and how long that takes.

    tests/bench/watchers.py [EDITS]          (default 100; 1000 takes some minutes where the VM is emulated)

Installs chokidar and Vite with npm, watchdog with pip, and unpacks Debian's inotify-tools, all under target/watchers. Each
watcher then runs on the host and in a VM, on copies of the same project, and a file is edited so often, each time after
the watcher has heard of the last edit. Prints for each: edits, heard, invented, and the milliseconds from edit to hearing
(median, 95 %, most). Fails when something was lost or invented in the VM.
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


def measure(name, vm, edits):
    with tempfile.TemporaryDirectory() as top:
        directory = Path(top) / 'p'
        project(directory)
        command = ['bash', '-c', WATCHERS[name]]
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
            took, before = [], len(lines(directory))
            for n in range(edits):
                start = time.monotonic()
                (directory / 'src/f.txt').write_text(str(n))
                if wait('heard', lambda: len(lines(directory)) > before + n, 20):
                    took.append((time.monotonic() - start) * 1000)
                # Watchers join what comes at once.
                time.sleep(0.12)
            time.sleep(1)
            heard = len(lines(directory)) - before
        finally:
            watcher.terminate()
            watcher.wait()
        took.sort()
        at = lambda share: took[min(len(took) - 1, int(len(took) * share))] if took else float('nan')
        place = 'VM' if vm else 'host'
        print(f'{name:12} {place:5} {edits:6} {heard:6} {heard - edits:9} {at(.5):8.0f} {at(.95):8.0f} {at(1):8.0f}', flush=True)
        return heard == edits


def main():
    edits = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    install()
    print(f'{"watcher":12} {"where":5} {"edits":>6} {"heard":>6} {"invented":>9} {"median":>8} {"95 %":>8} {"most":>8}')
    right = [measure(name, vm, edits) or not vm for name in WATCHERS for vm in (False, True)]
    sys.exit(0 if all(right) else 1)


main()
