#!/usr/bin/env bash
# In the guest: measures the way over the wire and the way through QEMU's user-mode network in turns.
set -euo pipefail
server=$1
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy

card=$(basename "$(ls -d /sys/class/net/e*)")
sudo ip link set "$card" up
sudo ip addr add 10.0.2.15/24 dev "$card"

wire() { sudo ip route del "$server" 2>/dev/null || true; }
card() { sudo ip route replace "$server" via 10.0.2.2 dev "$card"; }
down() { curl -sS -o /dev/null -w '%{speed_download}' "http://$server/200M"; }
latency() { python3 clients.py latency "$server" - | sed 's/.*median \([0-9.]*\) ms.*/\1/'; }

for round in 1 2 3; do
    for way in wire card; do
        $way
        echo "$round $way $(down) $(latency)"
    done
done | tee /tmp/measured
python3 - <<'END'
import statistics
rows = [line.split() for line in open("/tmp/measured")]
mean = lambda way, n: statistics.median(float(r[n]) for r in rows if r[1] == way)
print(f"throughput: {mean('wire', 2) / mean('card', 2):.2f} x ({mean('wire', 2) / 1e6:.1f} MB/s, the card {mean('card', 2) / 1e6:.1f})")
print(f"latency:    {mean('wire', 3) / mean('card', 3):.2f} x ({mean('wire', 3):.1f} ms, the card {mean('card', 3):.1f})")
END
