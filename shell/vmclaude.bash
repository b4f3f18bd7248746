# vmclaude hook for bash 3.2+. Generated; safe to source or eval any number of times.
# The function calls no other function, so it survives being copied alone into another shell. With the keyword, an alias
# called claude cannot change its name. One external command, last, so that the status, Ctrl-Z, pipes and subshells behave
# as without it.
function claude {
  if [[ -x @SHIM@ ]]; then
    @SHIM@ ${1+"$@"}
  else
    \builtin printf '%s %s %s\n' 'vmclaude:' @SHIM@ 'is missing: refusing to run claude (vmclaude enroll puts it back; to stop using vmclaude in this shell: unset -f claude)' >&2
    \builtin return 127
  fi
}
function __vmclaude_front {
  \builtin local q=":$PATH:" s=:@SHIMS@:
  while [[ $q == *"$s"* ]]; do q=${q%%"$s"*}:${q#*"$s"}; done
  q=${q#:}; q=${q%:}
  PATH=@SHIMS@${q:+:$q}
  \builtin export PATH
}
__vmclaude_front
# Before each prompt. Starts a process only when the directory or what is enrolled has changed, and leaves $? as it was.
function __vmclaude_guard {
  \builtin local st=$? IFS=$' \t\n' p d w v n f r s q a="'\\''" mark=$'\n''vmclaude is here:' why=
  # An alias beats a function. One that leads back to claude may stay. BASH_ALIASES would be shorter; bash 3.2 lacks it.
  if \builtin alias claude >/dev/null 2>&1; then
    v=$(\builtin alias claude); v=${v#*=}; v=${v#[\"\']}; v=${v%[\"\']}
    q=\'; v=${v//"$a"/$q}
    # What is in quotes is an argument, whatever it says: a comma for it. Not where it is hard to tell what is in quotes.
    s='' w=$v
    while [[ $w == *[\"\']* ]]; do
      n=${w%%[\"\']*}; q=${w:${#n}:1}; w=${w#"$n"?}
      case $q${w%%"$q"*} in \"*\`*|\"*\$[\(\{\[]*) w='' ;; esac
      case $w$v in *\\*|*$'\n'*) w='' ;; esac
      if [[ $w != *"$q"* ]]; then s='' w=$v; \builtin break; fi
      s=$s$n, w=${w#*"$q"}
    done
    s=$s$w w=$s
    while [[ $w == *' '* ]]; do
      n=${w%% *}
      case $n in *=*) n=${n%%=*} ;; command|env|nice|time) n=x ;; *) break ;; esac
      # Another PATH can lead anywhere, and so can what only looks like a variable.
      case $n in ''|PATH|*[!A-Za-z0-9_]*) break ;; esac
      w=${w#* }
    done
    w=${w%% *}
    # Behind the first command there could be another.
    case $s in *[\;\&\|\`$'\n']*|*\$'('*|*[\<\>]'('*) w='' ;; esac
    case $w in claude|vmclaude) ;; *)
      \builtin unalias claude
      \builtin printf -v v %q "$v"
      why="removed alias claude=$v: it would go around the VM (flags can stay: alias claude='claude ...')" ;;
    esac
  fi
  # A claude in front of the shim: the shim moves to the front. Never merely because it is not the first.
  p=$PATH:
  while [[ -n $p ]]; do
    d=${p%%:*}; p=${p#*:}
    [[ $d == @SHIMS@ ]] && break
    if [[ -x ${d:-.}/claude && ! -d ${d:-.}/claude ]]; then __vmclaude_front; break; fi
  done
  [[ -n $why ]] && \builtin printf '%s\n' "vmclaude: $why" >&2
  w='' n='' f=''
  if [[ -r @STAMP@ ]]; then \builtin read -r w <@STAMP@ || w=; fi
  if [[ ${__vmclaude_at-} != "$w $PWD" ]]; then
    __vmclaude_at="$w $PWD"
    # One subshell for both questions: what is the function, and what is this directory?
    n=1 r=0
    v=$(\builtin declare -f claude; \builtin printf '%s' "$mark"; \builtin exec @WHERE@ 2>/dev/null </dev/null) || r=$?
    f=${v%%"$mark"*}; f=${f%$'\n'}; v=${v#*"$mark"}
  elif (( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 503 )); then
    \builtin eval 'f=${ \builtin declare -f claude; }'
  elif [[ -n ${VMCLAUDE_TREE-} ]]; then
    # Before 5.3 only a copy of the shell can tell. Where it matters.
    f=$(\builtin declare -f claude)
  else
    f=${__vmclaude_fn-}
  fi
  # Another function may be somebody's own wrapper, so it is named and not fought. None at all is the shim.
  if [[ -z $f || $f == *'refusing to run claude'* ]]; then
    __vmclaude_fn=
  elif [[ $f != "${__vmclaude_fn-}" ]]; then
    __vmclaude_fn=$f
    \builtin printf '%s\n' "vmclaude: a shell function 'claude' replaced the one of vmclaude: run 'vmclaude status'" >&2
  fi
  if [[ -n $n ]]; then
    if [[ $v != "${VMCLAUDE_TREE-}" ]]; then
      VMCLAUDE_TREE=$v
      if [[ -n $v && -n $__vmclaude_fn ]]; then
        \builtin printf 'vmclaude: %q is enrolled, but claude is a function of your own in this shell\n' "$v" >&2
      elif [[ -n $v ]]; then
        \builtin printf 'vmclaude: claude runs in a VM here (%q)\n' "$v" >&2
      elif [[ $r == 0 ]]; then
        \builtin printf '%s\n' 'vmclaude: claude runs on the host here' >&2
      else
        \builtin printf '%s\n' 'vmclaude: claude refuses to run here: vmclaude status' >&2
      fi
    fi
    # Something waits for a review, here? Read by the shell itself: no process.
    if [[ -n $v && -s @PENDING@ ]]; then
      while IFS= \builtin read -r w; do
        if [[ $w == "$v" ]]; then
          \builtin printf '%s\n' 'vmclaude: files that programs here run were changed in a VM and wait for you: vmclaude review' >&2
          break
        fi
      done <@PENDING@
    fi
  fi
  \builtin return "$st"
}
if [[ $- == *i* ]]; then
  # String or array, exported or not: PROMPT_COMMAND stays what it is, because other programs' code expects it.
  # shellcheck disable=SC2128,SC2178 # in its own branch it is a string
  if [[ "$(\builtin declare -p PROMPT_COMMAND 2>/dev/null)" == "declare -a"* ]]; then
    if [[ " ${PROMPT_COMMAND[*]-} " != *" __vmclaude_guard "* ]]; then
      PROMPT_COMMAND[${#PROMPT_COMMAND[@]}]=__vmclaude_guard
    fi
  elif [[ "${PROMPT_COMMAND-}" != *__vmclaude_guard* ]]; then
    PROMPT_COMMAND="${PROMPT_COMMAND-}"
    while [[ $PROMPT_COMMAND == *[$' \t\n;'] ]]; do PROMPT_COMMAND=${PROMPT_COMMAND%?}; done
    PROMPT_COMMAND="${PROMPT_COMMAND:+$PROMPT_COMMAND; }__vmclaude_guard"
  fi
fi
# shellcheck disable=SC2034 # the lines in the start file look at it
__vmclaude_ok=1
