"""Keys that are typed on a terminal at whose other end a guest's cat runs."""

import os
import select
import subprocess
import time

# How long a session may take to start. It gives up by itself before that, and says why.
PATIENCE = 300


def ready(terminal, vm, **world):
    """Waits until the guest has said `ready`, and then nothing for a second. If it does not come to that, all that the
    session of `vm` said is in the error, and what is in its log."""
    text, end = b"", time.monotonic() + PATIENCE
    while b"ready" not in text:
        why = said(terminal, end)
        if isinstance(why, str):
            log = [os.path.join(os.path.dirname(vm), "vmclaude"), "session", "logs"]
            log = subprocess.run(log, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **world)
            words = text.decode(errors="replace")
            raise SystemExit(f"a session did not come to `ready`: {why}\nits words:\n{words}\nits log:\n{log.stdout}")
        text += why
    while select.select([terminal], [], [], 1)[0]:
        os.read(terminal, 4096)


def said(terminal, end):
    """What a session says next on its terminal; a text: why it says nothing."""
    if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        return f"nothing came in {PATIENCE} s"
    try:
        return os.read(terminal, 4096) or "it ended"
    except OSError:  # so ends a terminal that nobody has any more
        return "it ended"


def echoes(terminal, keys):
    """The time from each key to its echo, in milliseconds."""
    times = []
    for n in range(keys):
        start = time.monotonic()
        os.write(terminal, bytes([97 + n % 26]))
        os.read(terminal, 1)
        times.append((time.monotonic() - start) * 1e3)
    return times
