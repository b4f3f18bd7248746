"""Clients for tests/vm/net: `clients.py TEST SERVER HOST [SECONDS]`."""

import errno
import socket
import struct
import sys
import threading
import time

name, server, host = sys.argv[1:4]


def connect(port, address=server):
    sock = socket.create_connection((address, port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def everything(sock):
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def parallel():
    """Two hundred connections at once, each with its own bytes."""
    wrong = []

    def one(n):
        data = bytes((n + i) % 251 for i in range(20000))
        sock = connect(4001)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        if everything(sock) != data:
            wrong.append(n)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def halfclose():
    sock = connect(4002)
    sock.sendall(b"abc")
    sock.shutdown(socket.SHUT_WR)
    assert everything(sock) == b"cba"


def reset():
    sock = connect(4003)
    sock.sendall(b"x")
    try:
        got = sock.recv(1)
        raise AssertionError(f"no reset but {got}")
    except ConnectionResetError:
        pass


def refused():
    """A port where nobody listens: the kernel has accepted already, so the refusal is a reset, at once."""
    start = time.time()
    try:
        sock = connect(4999)
        sock.recv(1)
        raise AssertionError("somebody is there")
    except (ConnectionResetError, ConnectionRefusedError):
        pass
    assert time.time() - start < 3


def datagrams():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect((server, 4007))
    for size in (0, 1, 1200, 8000, 60000):
        sock.send(b"y" * size)
        assert sock.recv(65535) == b"y" * size, size
    start = time.time()
    for address in (host, "10.1.2.3", "169.254.169.254"):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.settimeout(10)
        other.connect((address, 4007))
        other.send(b"x")
        try:
            other.recv(10)
            raise AssertionError(address)
        except ConnectionRefusedError:
            pass
    assert time.time() - start < 5


def large():
    """Names by the system's own resolver, and a question that only other servers can answer."""
    assert socket.getaddrinfo("localhost", 80)
    start = time.time()
    try:
        socket.getaddrinfo("no-such-name.invalid", 80)
        raise AssertionError("it exists")
    except socket.gaierror:
        pass
    assert time.time() - start < 20


def echo_rejected():
    """A ping is told at once that it leads nowhere."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    except PermissionError:
        return  # Not for this user.
    sock.settimeout(5)
    sock.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR
    sock.connect((server, 0))
    sock.send(struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0))
    start = time.time()
    try:
        sock.recv(100)
    except OSError as e:
        assert e.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.ECONNREFUSED), e
    assert time.time() - start < 3


def latency():
    times = []
    for _ in range(50):
        start = time.perf_counter()
        sock = connect(4001)
        sock.sendall(b"x")
        sock.recv(1)
        times.append(time.perf_counter() - start)
    times.sort()
    print(f"measured: connect, send and receive one byte: median {times[25] * 1000:.1f} ms, worst {times[-1] * 1000:.1f} ms")


def idle():
    sock = connect(4001)
    sock.settimeout(None)
    time.sleep(float(sys.argv[4]))
    sock.sendall(b"still there")
    assert sock.recv(100) == b"still there"


globals()[name]()
