# >>> vmclaude >>>
__vmclaude_ok=
[ -r @HOOK@ ] && . @HOOK@
[ -n "$__vmclaude_ok" ] || eval 'function '\''claude'\'' { echo "vmclaude: the shell hook did not load: refusing to run claude (vmclaude enroll puts it back)" >&2; return 127; }'
unset __vmclaude_ok
# <<< vmclaude <<<
