#!/usr/bin/env bash
# Times file work in DIR, a git work tree, and prints a line for each: the name, a tab, seconds. Run on the host and in the guest.
#   files-guest.sh DIR [NPM-CACHE]
set -euo pipefail
cd "$1"
cache=${2:-}
timed() { # NAME COMMAND...
  local name=$1 from=$EPOCHREALTIME
  shift
  "$@" >/dev/null 2>&1
  local to=$EPOCHREALTIME
  printf '%s\t%s\n' "$name" "$(((${to/./} - ${from/./}) / 1000))"
}
timed 'find, first' find src -type f
timed 'find, again' find src -type f
timed 'git status, first' git status --short
timed 'git status, again' git status --short
timed 'rg, every file' rg --threads 1 --count needle src
timed 'cp -r' cp -r src copy
timed 'rm -r' rm -r copy
if [ -n "$cache" ]; then
  timed 'npm ci, from its cache' npm ci --offline --no-audit --no-fund --ignore-scripts --cache "$cache"
  rm -rf node_modules
fi
