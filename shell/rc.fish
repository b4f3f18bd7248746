# >>> vmclaude >>>
set -e __vmclaude_ok
test -r @HOOK@; and source @HOOK@
if not set -q __vmclaude_ok
    function claude
        echo 'vmclaude: the shell hook did not load: refusing to run claude (vmclaude enroll puts it back)' >&2
        return 127
    end
end
set -e __vmclaude_ok
# <<< vmclaude <<<
