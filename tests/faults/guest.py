# A guest on the wire that opens streams, and ends with a code that says what came of them. What it does stands behind this.
import struct, time

def exactly(n):
    bytes = b""
    while len(bytes) < n:
        more = wire.recv(n - len(bytes))
        if not more: sys.exit(0)
        bytes += more
    return bytes

def say(kind, stream, payload=b""):
    wire.sendall(struct.pack("<II", stream, kind << 24 | len(payload)) + payload)

OPEN, DATA, CREDIT, FIN, RESET = 1, 2, 3, 4, 5
CONTROL, GUESTS = 1, 2
outputs, came = [], {}

# One frame of the host's: its stream and kind.
def hear():
    stream, word = struct.unpack("<II", exactly(8))
    kind, payload = word >> 24, exactly(word & 0xffffff)
    if kind == OPEN and payload[0] in (3, 4): outputs.append(stream)
    if kind == DATA: came[stream] = came.get(stream, b"") + payload
    return stream, kind

def control(*bytes_):
    say(DATA, CONTROL, struct.pack("<I", len(bytes_)) + bytes(bytes_))

# Opens a stream and waits for the first so many bytes; fewer: it was reset or ended.
def opened(what, least, say_first=b""):
    say(OPEN, GUESTS, what)
    if say_first: say(DATA, GUESTS, say_first)
    return more(least)

def more(least):
    while len(came.get(GUESTS, b"")) < least:
        stream, kind = hear()
        if stream == GUESTS and kind in (FIN, RESET): break
    return came.get(GUESTS, b"")

# The host's answer to a dial, or 20: none.
def dial(target, kind=5):
    answer = opened(bytes([kind]) + target, 5)
    return answer[4] if len(answer) >= 5 else 20

def addr(text, port):
    number = bytes([port & 127 | 128, port >> 7 & 127 | 128, port >> 14]) if port >= 1 << 14 else \
        bytes([port & 127 | 128, port >> 7]) if port >= 128 else bytes([port])
    return bytes([1, 0]) + socket.inet_aton(text) + number

def name(text, port):
    return bytes([0, len(text)]) + text.encode() + addr("0.0.0.0", port)[6:]

# stdout and stderr are the host's to open.
def end(code):
    while len(outputs) < 2: hear()
    for stream in outputs: say(FIN, stream)
    control(3, 0, code)
    while True: hear()

wire.sendall(exactly(16))
while CONTROL not in came: hear()
control(0)
