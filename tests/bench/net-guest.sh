#!/usr/bin/env bash
# In the guest: measures the way over the wire and the way through QEMU's user-mode network in turns.
set -euo pipefail
wire=$1 card=$5
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
down() { curl -sS -o /dev/null -w '%{speed_download}' "http://$1/200M"; }
latency() { python3 clients.py latency "$1" - | sed 's/.*median \([0-9.]*\) ms.*/\1/'; }
for round in 1 2 3 4 5; do
    echo "$round wire $(down "$wire") $(latency "$wire")"
    echo "$round card $(down "$card") $(latency "$card")"
done | tee /tmp/measured
python3 - <<'END'
import statistics
rows = [line.split() for line in open("/tmp/measured")]
mean = lambda way, n: statistics.median(float(r[n]) for r in rows if r[1] == way)
print(f"throughput: {mean('wire', 2) / mean('card', 2):.2f} x ({mean('wire', 2) / 1e6:.1f} MB/s, the card {mean('card', 2) / 1e6:.1f})")
print(f"latency:    {mean('wire', 3) / mean('card', 3):.2f} x ({mean('wire', 3):.1f} ms, the card {mean('card', 3):.1f})")
END
