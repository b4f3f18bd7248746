"""Keys that are typed on a terminal at whose other end a guest's cat runs."""

import os
import select
import time


def ready(terminal):
    """Waits until the guest has said `ready`, and then nothing for a second."""
    text = b""
    while b"ready" not in text:
        text += os.read(terminal, 4096)
    while select.select([terminal], [], [], 1)[0]:
        os.read(terminal, 4096)


def echoes(terminal, keys):
    """The time from each key to its echo, in milliseconds."""
    times = []
    for n in range(keys):
        start = time.monotonic()
        os.write(terminal, bytes([97 + n % 26]))
        os.read(terminal, 1)
        times.append((time.monotonic() - start) * 1e3)
    return times
