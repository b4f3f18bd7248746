#!/usr/bin/env bash
# Whether machines come up, and whether each of their processors has a clock: as many starts as fit into some minutes, more at once than the
# host has processors. Prints how many there were and what became of them; fails when one was lost.
#   tests/bench/soak.sh [SECONDS] [AT_ONCE]     (default 600 and 6)
# It needs what tests/bench/world.sh needs.
#   WARM=1         copies of a template, not starts from power-on
#   VOLUME=1       each project has a volume (docs/volumes.md)
#   QEMU=program   another one
#   WITHOUT=word   a word that the guest's kernel is not given, to see what it is good for
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world 1
export SOAK_SECONDS=${1:-600} SOAK_AT_ONCE=${2:-6} SOAK_WARM=${WARM:-} SOAK_VOLUME=${VOLUME:-} SOAK_QEMU=${QEMU:-qemu-system-x86_64} SOAK_WITHOUT=${WITHOUT:-}
python3 tests/bench/soak.py
