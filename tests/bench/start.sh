#!/usr/bin/env bash
# What a start costs, against the fastest bare boot of the same kernel: every number is from this one run, taken in turns, so that
# whatever else the machine does meets all of them. Medians with their ranges, and ratios to the bare boot.
#   tests/bench/start.sh [ROUNDS]     (default 7; as root, CHRT=1 keeps other programs of the machine out of the way)
# It needs what tests/bench/world.sh needs, and busybox-static, cpio and qemu.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-7}"
mkdir -p "$world/bare/bin"
cp "$(command -v busybox)" "$world/bare/bin/busybox"
printf '#!/bin/busybox sh\n/bin/busybox poweroff -f\n' >"$world/bare/init"
chmod +x "$world/bare/init"
(cd "$world/bare" && find . | cpio -o -H newc --quiet >"$world/bare.cpio")
measure start.py
