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
# What is called claude here: ours, nothing (then it is the shim), an alias that leads back to it, an alias around the VM, or
# somebody's own function. An alias of fish is a function that says so of itself.
function __vmclaude_what
    set -l f (functions claude 2>/dev/null)
    if builtin test -z "$f"
        builtin echo none
    else if string match -q -- '*refusing to run claude*' $f
        builtin echo ours
    else if not string match -qr -- '^function claude .*--description .?alias\\\\? claude[=\\\\ ]' $f
        builtin echo function
    else
        set -l v (string trim -- $f | string match -rv -- '^(#.*|function claude .*|end|)$')
        # What is in quotes is an argument, whatever it says: a comma for it. Not where it is hard to tell what is in quotes.
        set -l s $v
        string match -qr -- '^([^\'"\\\\]|\'[^\'\\\\]*\'|"([^"$\\\\]|\$(?![({[]))*")*$' $v
        and set s (string replace -ar -- '\'[^\']*\'|"[^"]*"' , $v)
        set -l w
        for w in (string split -n ' ' -- $s)
            contains -- $w command env nice time; and continue
            # Another PATH can lead anywhere, and so can what only looks like a variable.
            string match -qr -- '^(?!PATH=)[A-Za-z0-9_]+=' $w; or break
        end
        if builtin test (count $v) = 1; and contains -- "$w" claude vmclaude; and not string match -qr -- '[;&|(]' $s
            builtin echo flags
        else
            builtin echo alias
            builtin echo -- (string replace -r -- ' \$argv$' '' $v)
        end
    end
end
functions -e __vmclaude_claude
functions -c claude __vmclaude_claude
# At the end of config.fish, and before each prompt. What has no prompt, a script, is told nothing.
function __vmclaude_meaning
    set -l what (__vmclaude_what)
    if builtin test "$what[1]" = alias
        functions -e claude
        functions -c __vmclaude_claude claude
        builtin status is-interactive; or return 0
        builtin echo "vmclaude: removed alias claude="(string escape -- "$what[2..-1]")": it would go around the VM (flags can stay: alias claude='claude ...')" >&2
    else if builtin test "$what" != function
        set -e __vmclaude_fn
    else if builtin status is-interactive; and not set -q __vmclaude_fn
        # It may be somebody's own wrapper, so it is named and not fought.
        set -g __vmclaude_fn 1
        builtin echo "vmclaude: a function 'claude' replaced the one of vmclaude: run 'vmclaude status'" >&2
    end
end
# Before each prompt. Starts a process only when the directory or what is enrolled has changed.
function __vmclaude_guard --on-event fish_prompt
    __vmclaude_meaning
    if not abbr --query claude 2>/dev/null
        set -e __vmclaude_abbr
    else if not set -q __vmclaude_abbr
        set -g __vmclaude_abbr 1
        builtin echo "vmclaude: an abbreviation 'claude' may go around the VM: abbr --erase claude" >&2
    end
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
    # fish itself complains about a missing program, past any redirection.
    set -l v
    builtin test -x @WHERE@; and set v (@WHERE@ 2>/dev/null </dev/null)
    set -l r $status
    if builtin test "$v" != "$VMCLAUDE_TREE"
        set -g VMCLAUDE_TREE $v
        if builtin test -n "$v"; and set -q __vmclaude_fn
            builtin echo "vmclaude: "(string escape -- $v)" is enrolled, but claude is a function of your own in this shell" >&2
        else if builtin test -n "$v"
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
