#!/usr/bin/env bash
# File work in a project of many files: on the host, on the share as the guest sees it, and on the guest's own disk. Each way in
# turns, in the same run; medians, and the ratio of the share to the guest's own disk, which is emulated as well.
#   tests/bench/files.sh [ROUNDS] [FILES...]     (default 3 rounds, 8000 and 100000 files; CHRT=1 as in start.sh)
# It needs what tests/bench/world.sh needs, and git, ripgrep and npm on the host; without npm's registry that row is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-3}"
shift || :
export BENCH_FILES="${*:-8000 100000}"
measure files.py
