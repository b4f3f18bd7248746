#!/usr/bin/env bash
# Many sessions at once, and machines of other makes beside ours: what each session costs the host, how long a start takes while
# others run, and start to exit of `true` in a container (podman) and in a machine of virtme-ng, where those can be had.
#   tests/bench/sessions.sh [ROUNDS]     (default 5; CHRT=1 as in start.sh)
# It needs what tests/bench/world.sh needs. virtme-ng: VNG=program VNG_KERNEL=kernel, whose modules are in /lib/modules; podman: found
# on PATH, with PODMAN_OPTIONS, such as "--runtime runc". Each is left out by name otherwise.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-5}"
measure sessions.py
