# shellcheck shell=bash
# For what runs in the guest: a line for each thing that is timed, with its name, a tab and milliseconds.
timed() { # NAME COMMAND...
  local name=$1 from=$EPOCHREALTIME
  shift
  "$@" >/dev/null 2>&1
  local to=$EPOCHREALTIME
  printf '%s\t%s\n' "$name" "$(((${to/./} - ${from/./}) / 1000))"
}
