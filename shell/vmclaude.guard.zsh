function '__vmclaude_front' {
  'builtin' 'emulate' '-L' 'zsh'
  path=(@SHIMS@ "${(@)path:#@SHIMS@}")
  'builtin' 'export' 'PATH'
}
__vmclaude_front
# Before each prompt. Starts a process only when the directory or what is enrolled has changed, and leaves $? as it was.
function '__vmclaude_guard' {
  'builtin' 'emulate' '-L' 'zsh'
  'builtin' 'local' d v w n r s q why=
  # An alias beats a function. One that leads back to claude may stay.
  if 'builtin' 'alias' 'claude' >/dev/null 2>&1; then
    v=${aliases[claude]-${galiases[claude]-}}
    for w in ${(z)v}; do
      case $w in
        *=*) n=${w%%\=*} ;;
        noglob|nocorrect|command|env|nice|time) n=x ;;
        *) break ;;
      esac
      # Another PATH can lead anywhere, and so can what only looks like a variable.
      case $n in ''|PATH|path|*[^A-Za-z0-9_]*) break ;; esac
    done
    # What is in quotes is an argument, whatever it says: a comma for it. Not where it is hard to tell what is in quotes.
    s= d=$v
    while [[ $d == *[\"\']* ]]; do
      n=${d%%[\"\']*}; q=${d[${#n}+1]}; d=${d[${#n}+2,-1]}
      case $q${d%%"$q"*} in \"*\`*|\"*\$[\(\{\[]*) d= ;; esac
      case $d$v in *\\*|*$'\n'*) d= ;; esac
      if [[ $d != *"$q"* ]]; then s= d=$v; break; fi
      s+=$n, d=${d#*"$q"}
    done
    # Behind the first command there could be another.
    case $s$d in *[\;\&\|\`]*|*$'\n'*|*'$('*|*[\<\>=]'('*) w= ;; esac
    if [[ $w != 'claude' && $w != 'vmclaude' ]]; then
      'builtin' 'unalias' 'claude'
      why="removed alias claude=${(V)v}: it would go around the VM (flags can stay: alias claude='claude ...')"
    fi
  fi
  # A claude in front of the shim: the shim moves to the front. Never merely because it is not the first.
  for d in "${(@)path}"; do
    [[ $d == @SHIMS@ ]] && break
    if [[ -x ${d:-.}/claude && ! -d ${d:-.}/claude ]]; then
      __vmclaude_front; break
    fi
  done
  # Another function: it may be somebody's own wrapper, so it is named and not fought. None at all is the shim.
  v=${functions[claude]-}
  [[ $v != *'refusing to run claude'* ]] || v=
  [[ -z $v || ${__vmclaude_fn-} == "$v" ]] ||
    why+="${why:+; }a shell function 'claude' replaced the one of vmclaude: run 'vmclaude status'"
  'builtin' 'typeset' '-g' __vmclaude_fn="$v"
  [[ -n $why ]] && 'builtin' 'print' '-ru2' '--' "vmclaude: $why"
  w=
  if [[ -r @STAMP@ ]]; then 'builtin' 'read' '-r' w <@STAMP@ || w=; fi
  if [[ ${__vmclaude_at-} != "$w $PWD" ]]; then
    'builtin' 'typeset' '-g' __vmclaude_at="$w $PWD"
    r=0
    v=$(@WHERE@ 2>/dev/null </dev/null) || r=$?
    if [[ $v != "${VMCLAUDE_TREE-}" ]]; then
      if [[ -n $v && -n $__vmclaude_fn ]]; then
        'builtin' 'print' '-ru2' '--' "vmclaude: ${(V)v} is enrolled, but claude is a function of your own in this shell"
      elif [[ -n $v ]]; then
        'builtin' 'print' '-ru2' '--' "vmclaude: claude runs in a VM here (${(V)v})"
      elif [[ $r == 0 ]]; then
        'builtin' 'print' '-ru2' '--' "vmclaude: claude runs on the host here"
      else
        'builtin' 'print' '-ru2' '--' "vmclaude: claude refuses to run here: vmclaude status"
      fi
      'builtin' 'typeset' '-g' VMCLAUDE_TREE="$v"
    fi
    # Something waits for a review, here? Read by the shell itself: no process.
    if [[ -n $v && -s @PENDING@ ]]; then
      while IFS= 'builtin' 'read' '-r' w; do
        if [[ $w == "$v" ]]; then
          'builtin' 'print' '-ru2' '--' 'vmclaude: files that programs here run were changed in a VM and wait for you: vmclaude review'
          break
        fi
      done <@PENDING@
    fi
  fi
  'builtin' 'return' '0'
}
function '__vmclaude_install' {
  'builtin' 'emulate' '-L' 'zsh'
  'builtin' 'typeset' '-ga' precmd_functions
  precmd_functions=("${(@)precmd_functions:#__vmclaude_guard}" '__vmclaude_guard')
}
[[ ! -o interactive ]] || __vmclaude_install
'builtin' 'unset' '-f' '__vmclaude_install'
