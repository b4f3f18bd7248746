#!/usr/bin/env bash
# In the guest: what must work, and what must not. Called by tests/vm/net.
set -uo pipefail
server=$1 host=$2 sha=$3 idle=$4
failed=0 passed=0
export GIT_SSL_CAINFO=$PWD/cert.pem CURL_CA_BUNDLE=$PWD/cert.pem
export GIT_SSH_COMMAND="ssh -q -i $PWD/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
chmod 600 id

check() { # NAME COMMAND...
    local name=$1 start end
    shift
    start=$(date +%s%N)
    if "$@" >/tmp/out 2>&1; then
        end=$(date +%s%N)
        echo "ok    $name ($(((end - start) / 1000000)) ms)"
        passed=$((passed + 1))
    else
        echo "FAIL  $name"
        sed 's/^/      /' /tmp/out | tail -8
        failed=$((failed + 1))
    fi
}
download() { [ "$(curl -sS -m 600 "http://$server/200M" | sha256sum | cut -d' ' -f1)" = "$sha" ]; }
clone() { rm -rf /tmp/clone && git clone -q "$1" /tmp/clone && git -C /tmp/clone log -1 --format=%s | grep -qx first; }
refused() { ! curl -fsS -m 10 "$1" && [ "$SECONDS" -lt $(($2 + 8)) ]; }
# Into a root of its own, as the root of a user namespace: what counts here is how it is fetched.
apt_install() {
    local d
    d=$(mktemp -d)
    mkdir -p "$d/state/lists/partial" "$d/cache/archives/partial" "$d/root/var/lib/dpkg/info" "$d/root/var/lib/dpkg/updates"
    touch "$d/root/var/lib/dpkg/status"
    echo "deb [trusted=yes] http://$server/apt ./" >"$d/list"
    local options=(-qq -o "Dir::State=$d/state" -o "Dir::State::status=$d/root/var/lib/dpkg/status" -o "Dir::Cache=$d/cache"
        -o "Dir::Etc::sourcelist=$d/list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root
        -o "Dir::Log=$d" -o "DPkg::Options::=--root=$d/root" -o "DPkg::Options::=--log=$d/log" -o Debug::NoLocking=1)
    unshare -r apt-get "${options[@]}" update && unshare -r apt-get "${options[@]}" install -y vmclaude-canary &&
        grep -qx tweet "$d/root/usr/share/vmclaude-canary/song"
}
npm_install() (
    rm -rf /tmp/npm && mkdir /tmp/npm && cd /tmp/npm && npm init -y >/dev/null &&
        npm install --no-audit --no-fund --cache /tmp/npm/cache --registry "http://$server/npm/" vmclaude-canary &&
        node -e 'process.exit(require("vmclaude-canary") === "tweet" ? 0 : 1)'
)
pip_install() {
    rm -rf /tmp/pip && python3 -m pip install -q --no-cache-dir --disable-pip-version-check --trusted-host "$server" \
        --index-url "http://$server/simple/" --target /tmp/pip vmclaude-canary &&
        PYTHONPATH=/tmp/pip python3 -c 'import vmclaude_canary; assert vmclaude_canary.song == "tweet"'
}
websocket() {
    [ "$(node -e 'const s = new WebSocket(process.argv[1]); s.onopen = () => s.send("tweet");
        s.onmessage = e => { console.log(e.data); s.close() }; s.onerror = e => { console.log(e.message); process.exit(1) }' \
        "ws://$server:4008/")" = tweet ]
}

all() {
    check "$1: curl" curl -sS -o /dev/null "https://$server/repo.git/HEAD"
    check "$1: 200 MB, the right bytes" download
    check "$1: git over https" clone "https://$server/repo.git"
    check "$1: git over ssh" clone "ssh://root@$server/repo.git"
    check "$1: apt-get update and install" apt_install
    if [ "$1" = "with proxies" ] || [ "$idle" -ge 600 ]; then # The full run: each takes its time under emulation.
        check "$1: npm install" npm_install
        check "$1: pip install" pip_install
        check "$1: a WebSocket" websocket
    fi
    check "$1: this machine is closed" refused "http://$host:9/" "$SECONDS"
    check "$1: the host's loopback is closed" refused "http://169.254.169.254/" "$SECONDS"
    for test in parallel halfclose reset refused; do
        check "$1: $test" python3 clients.py "$test" "$server" "$host"
    done
}
all "with proxies"
check "socks" curl -sS -x socks5h://127.0.0.1:1080 -o /dev/null "https://$server/repo.git/HEAD"
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy NODE_USE_ENV_PROXY
all "without"
for test in datagrams large echo_rejected latency; do
    check "$test" python3 clients.py "$test" "$server" "$host"
    grep ^measured /tmp/out
done
check "idle for $idle s" python3 clients.py idle "$server" "$host" "$idle"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
