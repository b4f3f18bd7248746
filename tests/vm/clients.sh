#!/usr/bin/env bash
# In the guest: what must work, and what must not. Called by tests/vm/net.
set -uo pipefail
server=$1 host=$2 sha=$3 idle=$4
failed=0
export GIT_SSL_CAINFO=$PWD/cert.pem CURL_CA_BUNDLE=$PWD/cert.pem

check() { # NAME COMMAND...
    local name=$1 start end
    shift
    start=$(date +%s%N)
    if "$@" >/tmp/out 2>&1; then
        end=$(date +%s%N)
        echo "ok    $name ($(((end - start) / 1000000)) ms)"
    else
        echo "FAIL  $name"
        sed 's/^/      /' /tmp/out | tail -5
        failed=1
    fi
}
download() { [ "$(curl -sS -m 600 "http://$server/200M" | sha256sum | cut -d' ' -f1)" = "$sha" ]; }
clone() { rm -rf /tmp/clone && git clone -q "$1" /tmp/clone && git -C /tmp/clone log -1 --format=%s | grep -qx first; }
refused() { ! curl -fsS -m 10 "$1" && [ "$SECONDS" -lt $(($2 + 8)) ]; }

all() {
    check "$1: curl" curl -sS -o /dev/null "https://$server/repo.git/HEAD"
    check "$1: 200 MB, the right bytes" download
    check "$1: git over https" clone "https://$server/repo.git"
    check "$1: this machine is closed" refused "http://$host:9/" "$SECONDS"
    check "$1: the host's loopback is closed" refused "http://169.254.169.254/" "$SECONDS"
}
all "with proxies"
check "socks" curl -sS -x socks5h://127.0.0.1:1080 -o /dev/null "https://$server/repo.git/HEAD"
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
all "without"
for test in parallel halfclose reset refused datagrams large echo_rejected latency; do
    check "$test" python3 clients.py "$test" "$server" "$host"
    grep ^measured /tmp/out
done
check "idle for $idle s" python3 clients.py idle "$server" "$host" "$idle"
exit $failed
