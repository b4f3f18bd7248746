#!/usr/bin/env bash
# What it costs that the guest asks the host for a file's name and attributes each time: file work on the share as it is, and with
# a share server that lets the guest believe everything for an hour, in turns, in the same run.
#   tests/bench/stale.sh [ROUNDS] [FILES]     (default 5 rounds, 8000 files; CHRT=1 as in start.sh)
# It needs what tests/bench/world.sh needs, and git and ripgrep. The other server is built below target/stale, of this very source.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-5}"
source=target/stale/source
rm -rf "$source"
mkdir -p "$source"
git ls-files -z | tar -c --null -T - | tar -x -C "$source"
believe() { # FILE FROM TO: the one place in FILE
  [ "$(grep -cF "$2" "$source/$1")" = 1 ] || { echo "$1 has changed: adjust this script" >&2; exit 1; }
  sed -i "s|$2|$3|" "$source/$1"
}
believe src/share/server.rs 'FRESH: Duration = Duration::from_secs(1);' 'FRESH: Duration = Duration::from_secs(3600);'
believe src/share/guard/checks.rs 'BRIEF: Duration = Duration::from_millis(1);' 'BRIEF: Duration = Duration::from_secs(3600);'
believe src/share/guard/checks.rs 'false => Duration::ZERO,' 'false => BRIEF,'
(cd "$source" && CARGO_TARGET_DIR=../build cargo build --locked --release --bin vmclaude)
mkdir -p "$world/believing"
cp target/stale/build/release/vmclaude "$world/believing/vmclaude"
ln -s vmclaude "$world/believing/vmclaude-container"
export BENCH_FILES=${2:-8000}
measure stale.py
