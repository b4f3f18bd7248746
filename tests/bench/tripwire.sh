#!/usr/bin/env bash
# What the look at a project's files costs a session, before its command (beside the boot) and after it, in trees of several sizes.
#   tests/bench/tripwire.sh [ROUNDS]     (default 5; CHRT=1 as in start.sh)
# It needs what tests/bench/world.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-5}"
measure tripwire.py
