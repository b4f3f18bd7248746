# vmclaude hook for fish 3.2+. Generated; safe to source any number of times.
# The function calls no other function, so it survives being copied alone. One external command, last, so that the status,
# Ctrl-Z, pipes and subshells behave as without it.
function claude --description 'claude, in a VM where the directory is enrolled'
    if builtin test -x @SHIM@
        @SHIM@ $argv
    else
        builtin echo 'vmclaude:' @SHIM@ 'is missing: refusing to run claude (vmclaude enroll puts it back; to stop using vmclaude in this shell: functions -e claude)' >&2
        return 127
    end
end
function __vmclaude_front
    set -l p
    for d in $PATH
        builtin test "$d" = @SHIMS@; or set p $p $d
    end
    set -gx PATH @SHIMS@ $p
end
__vmclaude_front
# Before each prompt. Starts a process only when the directory or what is enrolled has changed.
function __vmclaude_guard --on-event fish_prompt
    # A claude in front of the shim: the shim moves to the front. Never merely because it is not the first.
    for d in $PATH
        builtin test "$d" = @SHIMS@; and break
        if builtin test -x "$d/claude" -a ! -d "$d/claude"
            __vmclaude_front
            break
        end
    end
    set -l w
    builtin test -r @STAMP@; and read w <@STAMP@
    builtin test "$__vmclaude_at" = "$w $PWD"; and return
    set -g __vmclaude_at "$w $PWD"
    # Another function may be somebody's own wrapper, so it is named and not fought.
    if not functions claude 2>/dev/null | string match -q -- '*refusing to run claude*'
        builtin echo "vmclaude: a function or alias 'claude' replaced the one of vmclaude: run 'vmclaude status'" >&2
    end
    if abbr --query claude 2>/dev/null
        builtin echo "vmclaude: an abbreviation 'claude' may go around the VM: abbr --erase claude" >&2
    end
    # fish itself complains about a missing program, past any redirection.
    set -l v
    builtin test -x @WHERE@; and set v (@WHERE@ 2>/dev/null </dev/null)
    set -l r $status
    if builtin test "$v" != "$VMCLAUDE_TREE"
        set -g VMCLAUDE_TREE $v
        if builtin test -n "$v"
            builtin echo "vmclaude: claude runs in a VM here ("(string escape -- $v)")" >&2
        else if builtin test "$r" = 0
            builtin echo 'vmclaude: claude runs on the host here' >&2
        else
            builtin echo 'vmclaude: claude refuses to run here: vmclaude status' >&2
        end
    end
    # Something waits for a review, here? Read by the shell itself: no process.
    if builtin test -n "$v" -a -s @PENDING@
        while builtin read -l w
            if builtin test "$w" = "$v"
                builtin echo 'vmclaude: files that programs here run were changed in a VM and wait for you: vmclaude review' >&2
                break
            end
        end <@PENDING@
    end
end
set -g __vmclaude_ok 1
