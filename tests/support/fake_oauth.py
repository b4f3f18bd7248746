#!/usr/bin/env python3
"""A stand-in for the login servers, behind a proxy of its own (stdlib only, loopback only).

usage: fake_oauth.py --cert FILE --key FILE --api PORT --port-file FILE --log FILE

An HTTP proxy that takes CONNECT for any name and answers TLS itself with the given certificate. Tokens are issued at
/v1/oauth/token: a code is good once, and so is a refresh token, as with the real one: whoever refreshes with a used one is
logged out, and the log says REUSED. What names an access token that was issued is passed on to the API's port; 401 else.
"""
import argparse, json, http.client, ssl, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ap = argparse.ArgumentParser()
for name in ("cert", "key", "api", "port-file", "log"):
    ap.add_argument("--" + name, required=True)
A = ap.parse_args()
lock, issued, live, count = threading.Lock(), set(), {"refresh-0"}, [0]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(A.cert, A.key)


def log(line):
    with open(A.log, "a") as f:
        f.write(line + "\n")


def token(body):
    with lock:
        if body.get("grant_type") == "refresh_token":
            used = body.get("refresh_token")
            if used not in live:
                log("REUSED %s" % used)
                return 400, {"error": "invalid_grant"}
            live.discard(used)
        count[0] += 1
        n = count[0]
        issued.add("access-%d" % n)
        live.add("refresh-%d" % n)
        log("%s -> %d" % (body.get("grant_type"), n))
        return 200, {"access_token": "access-%d" % n, "refresh_token": "refresh-%d" % n, "expires_in": 3600 * 8,
                     "token_type": "Bearer", "scope": "user:inference user:profile",
                     "account": {"uuid": "u", "email_address": "a@example.org"}, "organization": {"uuid": "o"}}


class Inner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def reply(self, code, data, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def any(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        log("%s %s %s" % (self.command, self.headers.get("Host"), path))
        if path == "/v1/oauth/token":
            code, answer = token(json.loads(raw))
            return self.reply(code, json.dumps(answer).encode())
        if path == "/api/oauth/profile":
            return self.reply(200, json.dumps({
                "account": {"uuid": "u", "email": "a@example.org", "has_claude_max": True, "has_claude_pro": False},
                "organization": {"uuid": "o", "organization_type": "claude_max", "rate_limit_tier": "x"}}).encode())
        if not path.startswith("/v1/"):
            return self.reply(200, b"{}")
        if (self.headers.get("Authorization") or "").replace("Bearer ", "") not in issued:
            error = {"type": "error", "error": {"type": "authentication_error", "message": "bad token"}}
            return self.reply(401, json.dumps(error).encode())
        api = http.client.HTTPConnection("127.0.0.1", int(A.api))
        api.request(self.command, self.path, raw, {"Content-Type": "application/json", "Authorization": self.headers["Authorization"]})
        answer = api.getresponse()
        self.reply(answer.status, answer.read(), answer.getheader("Content-Type"))

    do_GET = do_POST = do_HEAD = do_PUT = any


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            inside = tls.wrap_socket(self.connection, server_side=True)
            Inner(inside, self.client_address, self.server)
            inside.close()
        except OSError:
            pass


srv = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
srv.daemon_threads = True
open(A.port_file, "w").write(str(srv.server_address[1]))
srv.serve_forever()
