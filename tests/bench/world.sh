# shellcheck shell=bash
# Sourced by the benchmarks. It needs target/release/vmclaude and the tests' image (tests/run builds both).

make_world() { # ROUNDS: a world of its own in $world, with the tests' image and the program as it was built
  local out data
  out=$(realpath "${CARGO_TARGET_DIR:-target}")
  data=${VMCLAUDE_TEST_DATA:-$out/tests/data}
  # Where people's projects are: below a home. (A project elsewhere has its path made on the guest's disk, which takes longer.)
  world=$HOME
  [ "$world" != /root ] || world=/home
  world=$(mktemp -d "$world/.bench.XXXXXX")
  trap 'rm -rf "$world"' EXIT
  mkdir -p "$world/home/.local/share/vmclaude" "$world/p" "$world/bin"
  cp -al "$(realpath "$data/vmclaude/images")" "$world/home/.local/share/vmclaude/images" 2>/dev/null ||
    cp -a "$(realpath "$data/vmclaude/images")" "$world/home/.local/share/vmclaude/images"
  cp "$out/release/vmclaude" "$world/bin/vmclaude"
  ln -s vmclaude "$world/bin/vmclaude-container"
  BENCH_KERNEL=$(realpath "$world/home/.local/share/vmclaude/images/current")/vmlinux
  # Nothing is written beside the scripts.
  export BENCH_WORLD=$world BENCH_ROUNDS=$1 BENCH_KERNEL PYTHONDONTWRITEBYTECODE=1
}

measure() { # FILE: runs the measurements; CHRT=1 keeps other programs of the machine out of the way
  if [ "${CHRT:-}" = 1 ]; then chrt -r 10 python3 "tests/bench/$1"; else python3 "tests/bench/$1"; fi
}
