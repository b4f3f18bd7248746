# vmclaude hook for zsh 5.8+. Generated; safe to source or eval any number of times.
# (1) The function. It calls no other function, so it survives being copied alone into another shell. Keyword and quotes
# around the name: no alias called claude, global ones included, can make a parse error of it. One external command, last,
# so that the status, Ctrl-Z, pipes and subshells behave as without it.
function 'claude' {
  if [[ -x @SHIM@ ]]; then
    @SHIM@ "$@"
  else
    'builtin' 'print' '-ru2' '--' 'vmclaude:' @SHIM@ 'is missing: refusing to run claude (vmclaude enroll puts it back; to stop using vmclaude in this shell: unset -f claude)'
    'builtin' 'return' '127'
  fi
}
# (2) PATH and the prompt guard. Quoted: whatever options are set, a parse error in there cannot undo (1).
'builtin' 'eval' @GUARD@
__vmclaude_ok=1
