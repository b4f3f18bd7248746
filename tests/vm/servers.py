"""Servers for tests/vm/net, one port per behaviour."""

import base64
import functools
import hashlib
import http.server
import os
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time

work = sys.argv[1]


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


def start(port, handle, address="0.0.0.0"):
    """Calls `handle` with every connection to `port`, in a thread of its own."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            handle(self.request)

    threading.Thread(target=Threads((address, port), Handler).serve_forever, daemon=True).start()


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def late(sock):
    """Answers with the reverse, some time after the client has finished."""
    data = b""
    while more := sock.recv(65536):
        data += more
    time.sleep(2)
    sock.sendall(data[::-1])


def reset(sock):
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def websocket(sock):
    """Shakes hands and sends back every short frame, without its mask."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    key = next(line[19:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    stream = sock.makefile("rb")
    while start := stream.read(2):
        mask, data = stream.read(4), stream.read(start[1] & 127)
        sock.sendall(start[:1] + bytes([len(data)]) + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        if start[0] & 15 == 8:
            return


def datagrams():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 4007))
    while True:
        data, peer = sock.recvfrom(65535)
        sock.sendto(data, peer)


files = functools.partial(Quiet, directory=os.path.join(work, "www"))
plain = http.server.ThreadingHTTPServer(("0.0.0.0", 80), files)
secret = http.server.ThreadingHTTPServer(("0.0.0.0", 443), files)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(work, "cert.pem"), os.path.join(work, "key.pem"))
secret.socket = context.wrap_socket(secret.socket, server_side=True)
for server in (plain, secret):
    threading.Thread(target=server.serve_forever, daemon=True).start()
for port, handle in ((4001, echo), (4002, late), (4003, reset), (4008, websocket)):
    start(port, handle)
datagrams()
