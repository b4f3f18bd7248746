#!/usr/bin/env bash
# What every prompt and every `claude` costs, beside direnv, mise and zoxide and a direct exec: medians in microseconds, in turns in
# one run. Needs target/release/vmclaude (tests/run builds it). The rivals come from Debian and npm, unpacked in target/rivals.
# Usage: tests/bench/shells.sh [ROUNDS]
# shellcheck disable=SC2016 # what shells shall see unexpanded
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${CHRT:-}" = 1 ]; then CHRT=0 exec chrt -r 10 "$0" "$@"; fi # other programs of the machine keep out of the way
rounds=${1:-9}
out=$(realpath "${CARGO_TARGET_DIR:-target}") rivals=$(realpath -m "${CARGO_TARGET_DIR:-target}/rivals")
mkdir -p "$rivals"
(
  cd "$rivals"
  for name in direnv zoxide; do
    [ -x "usr/bin/$name" ] || { apt-get download -q "$name" && dpkg-deb -x "$name"_*.deb .; } >&2 || echo "skipped $name: apt-get does not give it" >&2
  done
  [ -x node_modules/.bin/mise ] || npm install --silent --no-audit --no-fund --prefix . @jdxcode/mise >&2 || echo 'skipped mise: npm does not give it' >&2
)

world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
mkdir -p "$world/home" "$world/bin" "$world/tree" "$world/out" "$world/results"
cp /bin/true "$world/bin/claude"
export HOME=$world/home PATH=$world/bin:$rivals/usr/bin:$rivals/node_modules/.bin:/usr/bin:/bin
unset "${!XDG_@}" "${!MISE_@}" VMCLAUDE_TREE
"$out/release/vmclaude" enroll "$world/tree" 2>/dev/null
export STATE=$HOME/.local/state/vmclaude W=$world

# NAME|what is done before|what is measured|how often. The first of a group is what the others are compared with.
rows() {
  echo "the host's claude by its path|:|$W/bin/claude|200"
  echo 'claude: the function of vmclaude|. "$STATE/hook.$SH"|claude|200'
  echo 'claude: the shim of vmclaude|PATH=$STATE/shims:$PATH|command claude|200'
  ! command -v direnv >/dev/null || echo "direnv exec|:|direnv exec $W/out claude|60"
  ! command -v mise >/dev/null || echo 'mise exec|:|mise exec -- claude|30'
  echo 'prompt, same directory: vmclaude|. "$STATE/hook.$SH"|__vmclaude_guard|400'
  ! command -v direnv >/dev/null || echo 'prompt, same directory: direnv|eval "$(direnv hook $SH)"|_direnv_hook|40'
  ! command -v mise >/dev/null || echo 'prompt, same directory: mise|eval "$(mise activate $SH)"|_mise_hook|40'
  ! command -v zoxide >/dev/null || echo 'prompt, same directory: zoxide|eval "$(zoxide init $SH --hook prompt)"|__zoxide_hook|40'
  echo 'prompt, after cd: vmclaude|. "$STATE/hook.$SH"|cd "$W/tree"; __vmclaude_guard; cd "$W/out"; __vmclaude_guard|40'
  ! command -v direnv >/dev/null || echo 'prompt, after cd: direnv|eval "$(direnv hook $SH)"|cd "$W/tree"; _direnv_hook; cd "$W/out"; _direnv_hook|20'
  ! command -v mise >/dev/null || echo 'prompt, after cd: mise|eval "$(mise activate $SH)"|cd "$W/tree"; _mise_hook; cd "$W/out"; _mise_hook|20'
  echo 'start of the shell: vmclaude|:|. "$STATE/hook.$SH"|100'
  ! command -v direnv >/dev/null || echo 'start of the shell: direnv|:|eval "$(direnv hook $SH)"|40'
  ! command -v mise >/dev/null || echo 'start of the shell: mise|:|eval "$(mise activate $SH)"|20'
  ! command -v zoxide >/dev/null || echo 'start of the shell: zoxide|:|eval "$(zoxide init $SH)"|40'
}
run() { # SHELL BEFORE WHAT COUNT: microseconds of one go
  local flags=--norc clock=
  [ "$1" = bash ] || { flags=-f clock='zmodload zsh/datetime'; }
  SH=$1 "$1" "$flags" -c "$clock
    cd \"\$W/out\"; $2
    a=\$EPOCHREALTIME
    for ((i = 0; i < $4; i++)); do $3; done >/dev/null 2>&1
    b=\$EPOCHREALTIME
    printf '%s %s\n' \"\$a\" \"\$b\"" </dev/null 2>/dev/null | awk -v n="$4" '{printf "%.1f\n", ($2 - $1) * 1e6 / n}'
}

for ((round = 0; round < rounds; round++)); do
  for shell in bash zsh; do
    n=0
    while IFS='|' read -r _ before what count; do
      n=$((n + 1))
      run "$shell" "$before" "$what" "$count" >>"$world/results/$shell-$n"
    done < <(rows)
  done
done

echo "$rounds rounds in turns, $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg); microseconds"
echo '| what | bash | zsh | to the first of its kind |'
echo '| --- | --- | --- | --- |'
n=0 first='' kind=''
while IFS='|' read -r name _ what _; do
  n=$((n + 1)) value=()
  for shell in bash zsh; do
    middle=$(sort -n "$world/results/$shell-$n" | sed -n "$((rounds / 2 + 1))p")
    case $what in 'cd '*) middle=$(awk -v m="$middle" 'BEGIN {print m / 2}') ;; esac # there and back
    value+=("$middle")
  done
  case $name in *,*:* | start*:*) now=${name%%:*} ;; *) now=claude ;; esac
  [ "$now" = "$kind" ] || { kind=$now first=${value[0]}; }
  awk -v name="$name" -v b="${value[0]}" -v z="${value[1]}" -v f="$first" \
    'BEGIN {printf "| %s | %.0f | %.0f | %.1fx |\n", name, b, z, b / f}'
done < <(rows)
