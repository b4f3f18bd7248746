# vmclaude: its directory first on PATH, for login shells and scripts. Generated; for sh, bash and zsh, safe to source again.
__vmclaude_s=:@SHIMS@:
__vmclaude_q=":${PATH-}:"
while :; do
  case $__vmclaude_q in
    *"$__vmclaude_s"*) __vmclaude_q=${__vmclaude_q%%"$__vmclaude_s"*}:${__vmclaude_q#*"$__vmclaude_s"} ;;
    *) break ;;
  esac
done
__vmclaude_q=${__vmclaude_q#:}
__vmclaude_q=${__vmclaude_q%:}
PATH=@SHIMS@${__vmclaude_q:+:$__vmclaude_q}
export PATH
unset __vmclaude_s __vmclaude_q
