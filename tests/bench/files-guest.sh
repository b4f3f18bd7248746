#!/usr/bin/env bash
# Times file work in DIR, a git work tree, on the host and in the guest. timed.sh goes in front of it.
#   files-guest.sh DIR [NPM-CACHE]
set -euo pipefail
cd "$1"
cache=${2:-}
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
