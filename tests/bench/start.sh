#!/usr/bin/env bash
# What a start costs, against the fastest bare boot of the same kernel: every number is from this one run, taken in turns, so that
# whatever else the machine does meets all of them. Medians with their ranges, and ratios to the bare boot.
#   tests/bench/start.sh [ROUNDS]     (default 7; as root, CHRT=1 keeps other programs of the machine out of the way)
# It needs target/release/vmclaude, the tests' image (tests/run builds both), busybox-static, cpio and qemu.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-7}
out=$(realpath "${CARGO_TARGET_DIR:-target}")
data=${VMCLAUDE_TEST_DATA:-$out/tests/data}
world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
mkdir -p "$world/home/.local/share/vmclaude" "$world/p" "$world/bin" "$world/bare/bin"
cp -al "$(realpath "$data/vmclaude/images")" "$world/home/.local/share/vmclaude/images" 2>/dev/null ||
  cp -a "$(realpath "$data/vmclaude/images")" "$world/home/.local/share/vmclaude/images"
cp "$out/release/vmclaude" "$world/bin/vmclaude"
ln -s vmclaude "$world/bin/vmclaude-container"
kernel=$(realpath "$world/home/.local/share/vmclaude/images/current")/vmlinux

cp "$(command -v busybox)" "$world/bare/bin/busybox"
printf '#!/bin/busybox sh\n/bin/busybox poweroff -f\n' >"$world/bare/init"
chmod +x "$world/bare/init"
(cd "$world/bare" && find . | cpio -o -H newc --quiet >"$world/bare.cpio")

export BENCH_WORLD=$world BENCH_KERNEL=$kernel BENCH_ROUNDS=$rounds
exec_prefix=()
if [ "${CHRT:-}" = 1 ]; then exec_prefix=(chrt -r 10); fi
"${exec_prefix[@]}" python3 tests/bench/start.py
