#!/usr/bin/env bash
# What `[watch]` costs this machine while programs in the VM work with files: processor time of the share server and of the process
# that runs the session, in turns with `enabled = false`, in the same run.
#   tests/bench/watching.sh [ROUNDS]     (default 5; CHRT=1 as in start.sh)
# It needs what tests/bench/world.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-5}"
measure watching.py
