"""Prints what inotify tells of directories, a line for each event: the directory, what happened, the name.

    watcher.py LOG DIRECTORY...      until there is a file LOG.stop, and a second after it nothing more happens
"""
import ctypes
import os
import select
import struct
import sys

# Reading and opening are left out: nothing of the host's is repeated by them.
NAMES = {0x2: 'MODIFY', 0x4: 'ATTRIB', 0x8: 'CLOSE_WRITE', 0x40: 'MOVED_FROM', 0x80: 'MOVED_TO', 0x100: 'CREATE', 0x200: 'DELETE'}

log, directories = sys.argv[1], sys.argv[2:]
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init()
watches = {libc.inotify_add_watch(fd, d.encode(), sum(NAMES)): d for d in directories}
if -1 in watches:
    sys.exit('cannot watch')
out = open(log, 'w', buffering=1)
print('ready', file=out)
stopped = False
while True:
    readable, _, _ = select.select([fd], [], [], 1 if stopped else 0.1)
    if not readable:
        if stopped:
            break
        stopped = os.path.exists(log + '.stop')
        continue
    data = os.read(fd, 1 << 20)
    at = 0
    while at < len(data):
        watch, mask, _, length = struct.unpack_from('iIII', data, at)
        name = data[at + 16:at + 16 + length].rstrip(b'\0').decode()
        at += 16 + length
        for bit, what in NAMES.items():
            if mask & bit:
                print(watches[watch], what + ('/' if mask & 0x40000000 else ''), name, file=out)
