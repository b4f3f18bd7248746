# The block of vmclaude in the shells' start files: put in and taken out so that every other byte stays. Part of install.sh,
# which has say, fail, step, note, keep, take, place, make_dir, xdg, has and the variables prefix, state, stage and dry.
# shellcheck shell=sh disable=SC2154,SC2016
begin='# >>> vmclaude >>>' end='# <<< vmclaude <<<'
quote() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
quote_fish() { printf "'%s'" "$(printf %s "$1" | sed "s/[\\\\']/\\\\&/g")"; }
strip() { # $stage/plain becomes the file $1 without our block; $born tells that there was no such file before us
  born=1
  [ -e "$1" ] || { : >"$stage/plain"; return 0; }
  born=''
  cat "$1" >"$stage/plain" # not its mode: it may be read-only
  while from=$(sed -n "/^$begin/{=;q;}" "$stage/plain") && [ -n "$from" ]; do
    to=$(sed -n "$from,\${/^$end/{=;q;};}" "$stage/plain")
    [ -n "$to" ] || fail "the lines of vmclaude in $1 have no end" "try: take them out by hand, from $begin on"
    how=$(sed -n "${from}p" "$stage/plain")
    : >"$stage/above"
    [ "$from" = 1 ] || head -n $((from - 1)) "$stage/plain" >"$stage/above"
    tail -n +$((to + 1)) "$stage/plain" >"$stage/below"
    if [ ! -s "$stage/below" ]; then
      case $how in
        *'(new file)') [ -s "$stage/above" ] || born=1 ;;
        *'(no newline)') size=$(wc -c <"$stage/above"); head -c $((size - 1)) "$stage/above" >"$stage/below"
          : >"$stage/above" ;;
      esac
    fi
    cat "$stage/above" "$stage/below" >"$stage/plain"
  done
}
lines() { # the parts of a block, for one shell
  kind=$1
  shift
  for part in "$@"; do
    case $kind-$part in
      fish-bin) b=$(quote_fish "$prefix/bin"); say "contains $b \$PATH; or set -gx PATH \$PATH $b" ;;
      *-bin) b=$(quote "$prefix/bin"); say "case \":\$PATH:\" in *:$b:*) ;; *) PATH=\$PATH:$b; export PATH ;; esac" ;;
      *-env) e=$(quote "$state/env.sh"); say "if [ -r $e ]; then . $e; fi" ;;
      *-words) say "fpath=($(quote "$prefix/share/zsh/site-functions") \$fpath)" ;;
      login-hook | bash-hook) # other shells read these files too
        say 'if [ -n "${BASH_VERSION-}" ]; then'
        "$prefix/bin/vmclaude" hook --rc bash | sed '1d;$d'
        say 'fi' ;;
      fish-last) # what is of the user's own and may stay is not to be replaced: all is loaded only where it is not yet
        say 'if functions -q __vmclaude_meaning'; say '    __vmclaude_meaning'; say 'else'
        "$prefix/bin/vmclaude" hook --rc fish | sed '1d;$d;s/^/    /'
        say 'end' ;;
      *-hook) "$prefix/bin/vmclaude" hook --rc "$kind" | sed '1d;$d' ;;
    esac
  done
}
writable() { # root may write anything; a file that its owner made read-only stays as it is all the same
  [ -w "$1" ] && [ -w "$(dirname "$1")" ] && case $(ls -ld "$1") in ??w*) ;; *) false ;; esac
}
put() { # new contents for a start file: mode and owner stay, a link stays a link
  step "rm $2.vmclaude-new"
  if [ -e "$2" ]; then cp -p "$2" "$2.vmclaude-new"; fi
  cat "$1" >"$2.vmclaude-new"
  place "$2.vmclaude-new" "$2"
}
edit() { # START-FILE SHELL PART...
  file=$1 real=$1
  shift
  if [ -n "$dry" ]; then say "would add lines to $file"; return 0; fi
  if [ -L "$file" ]; then real=$(readlink -f "$file") || real=''; fi
  lines "$@" >"$stage/lines"
  if [ -z "$real" ] || { [ -e "$real" ] && ! writable "$real"; }; then
    say "$file cannot be written; add these lines to it:"
    sed 's/^/    /' "$stage/lines"
    return 0
  fi
  strip "$real"
  how=''
  if [ -n "$born" ]; then how=' (new file)'; elif [ -n "$(tail -c 1 "$stage/plain")" ]; then how=' (no newline)'; fi
  {
    cat "$stage/plain"
    case $how in *newline*) echo ;; esac
    say "$begin$how"; cat "$stage/lines"; say "$end"
  } >"$stage/edited"
  note "rc $file"
  cmp -s "$stage/edited" "$real" || { make_dir "$(dirname "$real")"; put "$stage/edited" "$real"; }
}
zsh_dir() { # where a zsh that starts now reads its files: ~/.zshenv may decide that, and need not tell whoever it starts
  dir=$(zsh -c 'print -r -- ${ZDOTDIR:-$HOME}' </dev/null 2>/dev/null | tail -n 1) || dir=''
  case $dir in /*) say "$dir" ;; *) say "${ZDOTDIR:-$HOME}" ;; esac
}
edit_zsh() { # DIRECTORY: that of all start files but the first, which is read in the home where nobody has set ZDOTDIR yet
  [ "$1" = "$HOME" ] || edit "$1/.zshenv" zsh bin env words
  edit "$1/.zprofile" zsh env
  edit "$1/.zshrc" zsh hook
}
edit_all() {
  # As this process was started, and as one is that inherits nothing: the two can differ.
  z=$(zsh_dir) fresh=$(unset ZDOTDIR; zsh_dir)
  if has zsh || [ -e "$z/.zshrc" ]; then
    edit "$HOME/.zshenv" zsh bin env words
    edit_zsh "$z"
    [ "$fresh" = "$z" ] || edit_zsh "$fresh"
  fi
  if has bash || [ -e "$HOME/.bashrc" ]; then
    edit "$HOME/.bashrc" bash bin hook
    login=$HOME/.profile # bash reads the first that it finds
    for f in .profile .bash_login .bash_profile; do [ ! -r "$HOME/$f" ] || login=$HOME/$f; done
    if grep -qs bashrc "$login"; then edit "$login" login bin env; else edit "$login" login bin env hook; fi
  fi
  conf=$(xdg "${XDG_CONFIG_HOME-}" .config)/fish
  if has fish || [ -d "$conf" ]; then
    edit "$conf/conf.d/vmclaude.fish" fish bin hook
    # It is read behind all of conf.d, and an alias in it would be the last word where no prompt looks.
    [ ! -e "$conf/config.fish" ] || edit "$conf/config.fish" fish last
  fi
}
unedit() {
  real=$1
  if [ -L "$1" ]; then real=$(readlink -f "$1") || return 0; fi
  [ -e "$real" ] || return 0
  strip "$real"
  ! cmp -s "$stage/plain" "$real" || return 0
  [ -w "${real%/*}" ] || fail "cannot write to ${real%/*}" "because the lines of vmclaude in $real have to go" \
    "try: chmod u+w ${real%/*}"
  writable "$real" || fail "$real is read-only" 'because the lines of vmclaude in it have to go' "try: chmod u+w $(quote "$real")"
  if [ -n "$born" ]; then take "$real"; return 0; fi
  put "$stage/plain" "$real"
}
