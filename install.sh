#!/bin/sh
# Installs vmclaude: builds it (or takes a prebuilt archive that lies beside this file), proves it by booting a VM, and only
# then changes anything of yours: program files first, hook files next, shell start files last. A failure undoes all of it.
set -eu
umask 022
unset CDPATH
# Start files are bytes: in another locale a Mac's sed and sort refuse those that are no text.
LC_ALL=C && export LC_ALL
here=$(cd "$(dirname "$0")" && pwd -P)
os=$(uname -s | tr '[:upper:]' '[:lower:]') arch=$(uname -m)
[ "$arch" != arm64 ] || arch=aarch64
archive=$here/vmclaude-$os-$arch.tar.gz
yes='' shells=1 image=1 dry='' mode=install purge='' stage='' work='' prefix=${HOME:-}/.local
# Run from where it was installed, it is about that very installation.
case $here in */lib/vmclaude) prefix=${here%/lib/vmclaude} ;; esac

usage() {
  cat <<'EOF'
Usage: ./install.sh [OPTION]...
  --prefix DIR   install into DIR (default: ~/.local)
  --yes          ask nothing; as root, install missing packages
  --no-shell     leave the shells' start files alone
  --no-image     neither build the image nor boot the VM
  --build-only   build into target/ and install nothing
  --dry-run      say what would be done, and do nothing
  --uninstall    take everything out again; images, settings and conversations stay
  --purge        with --uninstall: these too
EOF
}
say() { printf '%s\n' "$*"; }
fail() { # what happened, then a line each for why and what next
  printf 'install.sh: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
  exit 1
}
ask() { # a question whose answer is yes by default where $2 is Y
  [ -z "$yes" ] || return 0
  [ -t 0 ] && [ -t 2 ] || return 1
  printf '%s [%s] ' "$1" "$2" >&2
  read -r answer || answer=n
  case ${answer:-${2%/*}} in [Yy]*) ;; *) return 1 ;; esac
}
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }
xdg() { case $1 in /*) printf %s "$1" ;; *) printf %s "$HOME/$2" ;; esac; }

while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -gt 1 ] || fail '--prefix needs a directory'; prefix=$2; shift ;;
    --prefix=*) prefix=${1#*=} ;;
    --yes | -y) yes=1 ;;
    --no-shell) shells='' ;;
    --no-image) image='' ;;
    --build-only) mode=build ;;
    --dry-run) dry=1 ;;
    --uninstall) mode=uninstall ;;
    --purge) purge=1 ;;
    --help | -h) usage; exit 0 ;;
    *) printf 'install.sh: there is no option %s\n' "$1" >&2; usage >&2; exit 64 ;;
  esac
  shift
done
[ -z "$purge" ] || [ $mode = uninstall ] || fail '--purge belongs to --uninstall'

# shellcheck source=shell/needs.sh
. "$here/shell/needs.sh"

# --- build ----------------------------------------------------------------------------------------------------------
build() {
  cd "$here"
  out=${CARGO_TARGET_DIR:-target}
  if [ "$os" = darwin ]; then # the guest's supervisor is built where the image is
    "$cargo" build --locked --release -p vmclaude -p vmclaude-shim >&2
    static=$out/release
    return 0
  fi
  triple=$arch-unknown-linux-gnu
  static=$out/$triple/release
  "$cargo" build --locked --release -p vmclaude >&2
  # Static: one runs where there is no library yet, the other in no time.
  (export "CARGO_TARGET_$(echo "$triple" | tr '[:lower:]-' '[:upper:]_')_RUSTFLAGS=-C target-feature=+crt-static"
    "$cargo" build --locked --release --target "$triple" -p vmclaude-init -p vmclaude-shim >&2)
}
sources_for_guest() { # what Apple's builder makes the image of, where an archive has not brought it
  if [ "$os" != darwin ] || [ -f "$1/source/image/Containerfile" ]; then return 0; fi
  sources
  mkdir -p "$1/source"
  cp -R "$here/Cargo.toml" "$here/Cargo.lock" "$here/image" "$1/source/"
}
copy_if_new() { cmp -s "$1" "$2" || { cp "$1" "$2.new" && mv -f "$2.new" "$2"; }; }
build_only() {
  build
  mkdir -p "$out/lib/vmclaude"
  for name in $helpers; do copy_if_new "$static/$name" "$out/lib/vmclaude/$name"; done
  rm -rf "$out/lib/vmclaude/source"
  sources_for_guest "$out/lib/vmclaude"
  ln -sf vmclaude "$out/release/vmclaude-container"
}
fill_stage() { # $work becomes what the prefix will get
  mkdir -p "$work/bin" "$work/lib/vmclaude"
  if [ -f "$archive" ]; then
    tar -xzf "$archive" -C "$work" || fail "cannot unpack $archive"
  else
    build
    cp "$out/release/vmclaude" "$work/bin/"
    for name in $helpers; do cp "$static/$name" "$work/lib/vmclaude/"; done
  fi
  sources_for_guest "$work/lib/vmclaude"
  for name in vmclaude $helpers; do
    case $name in vmclaude) name=bin/$name ;; *) name=lib/vmclaude/$name ;; esac
    [ -x "$work/$name" ] || fail "there is no $name in what was built" "try: rm $archive"
  done
  ln -sf vmclaude "$work/bin/vmclaude-container"
  # So that it can be taken out again without the sources.
  mkdir -p "$work/lib/vmclaude/shell"
  cp "$here/install.sh" "$work/lib/vmclaude/"
  cp "$here/shell/needs.sh" "$here/shell/start-files.sh" "$work/lib/vmclaude/shell/"
  mkdir -p "$work/share/bash-completion/completions" "$work/share/zsh/site-functions" \
    "$work/share/fish/vendor_completions.d" "$work/share/man/man1"
  "$work/bin/vmclaude" completions bash >"$work/share/bash-completion/completions/vmclaude"
  ln -sf vmclaude "$work/share/bash-completion/completions/vmclaude-container"
  "$work/bin/vmclaude" completions zsh >"$work/share/zsh/site-functions/_vmclaude"
  "$work/bin/vmclaude" completions fish >"$work/share/fish/vendor_completions.d/vmclaude.fish"
  "$work/bin/vmclaude" man "$work/share/man/man1"
}
prove() { # the image, and a VM from it, before anything is installed
  say 'Building the image (minutes, the first time) ...'
  "$work/bin/vmclaude" image build || fail 'cannot build the image, so nothing was installed'
  mkdir -p "$stage/home" "$stage/project"
  cd "$stage/project"
  # A home of its own: the trial leaves nothing in yours.
  if [ "$os" = darwin ]; then lend_library "$stage/home/Library"; fi
  # shellcheck disable=SC2016 # for the guest's shell
  proof=$(XDG_CONFIG_HOME=$(xdg "${XDG_CONFIG_HOME-}" .config) XDG_DATA_HOME=$(xdg "${XDG_DATA_HOME-}" .local/share) \
    XDG_CACHE_HOME=$(xdg "${XDG_CACHE_HOME-}" .cache) XDG_STATE_HOME=$stage/home/state HOME=$stage/home \
    "$work/bin/vmclaude-container" sh -c 'echo "kernel $(uname -r), Claude Code $(claude --version)"' </dev/null) ||
    fail 'the VM did not boot, so nothing was installed' "the image stays for the next try, in $data"
  cd "$here"
}
lend_library() { # a Mac has no variables for these directories: all but the state is lent to the trial's home
  mkdir -p "$1/Application Support/vmclaude" "$1/Caches"
  ln -s "$cache" "$1/Caches/vmclaude"
  for name in images config.toml; do
    [ ! -e "$data/$name" ] || ln -s "$data/$name" "$1/Application Support/vmclaude/$name"
  done
}

# --- change, and change back ----------------------------------------------------------------------------------------
count=0
step() { printf '%s\n' "$*" >>"$stage/undo"; } # written down before it is done
note() { printf '%s\n' "$*" >>"$stage/manifest"; }
keep() { count=$((count + 1)); cp -pP "$1" "$stage/old/$count"; step "put $count $1"; }
take() { if [ -L "$1" ] || [ -e "$1" ]; then keep "$1"; rm -f "$1"; fi; }
make_dir() {
  [ ! -d "$1" ] || return 0
  make_dir "$(dirname "$1")"
  step "rmdir $1"; note "dir $1"
  mkdir "$1"
}
place() { # a new file to its place; the old one is there until then
  make_dir "$(dirname "$2")"
  [ -L "$2" ] || [ ! -d "$2" ] || fail "$2 is a directory" "try: rmdir $2"
  if [ -L "$2" ] || [ -e "$2" ]; then keep "$2"; else step "rm $2"; fi
  mv -f "$1" "$2"
}
undo() {
  status=$?
  trap - EXIT HUP INT TERM; cd /
  if [ "$status" != 0 ] && [ -s "$stage/undo" ]; then
    sed '1!G;h;$!d' "$stage/undo" | while read -r what rest; do
      case $what in
        rm) rm -rf "$rest" ;;
        rmdir) rmdir "$rest" 2>/dev/null || : ;;
        mkdir) mkdir "$rest" ;;
        put) old=$stage/old/${rest%% *} now=${rest#* }
          cmp -s "$old" "$now" || mv -f "$old" "$now" || { say "install.sh: $now was $old" >&2; : >"$stage/lost"; } ;;
      esac
    done
    [ ! -e "$stage/lost" ] || exit "$status" # what could not be put back stays where it is
    say 'install.sh: everything is as it was before' >&2
  fi
  rm -rf "$stage"
  exit "$status"
}
open_stage() { # beside what changes: only a rename within one file system is a single step
  base=$1
  [ -w "$base" ] || base=$prefix
  until [ -d "$base" ]; do base=$(dirname "$base"); done
  stage=$(mktemp -d "$base/.vmclaude-install.XXXXXX" 2>/dev/null) ||
    fail "cannot write to $base" 'try: ./install.sh --prefix DIR, with a directory of yours'
  trap undo EXIT; trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
  work=$stage/new; mkdir "$work" "$stage/old"
  : >"$stage/undo"; : >"$stage/manifest"
}

# --- the whole ------------------------------------------------------------------------------------------------------
install_all() {
  need_to_run
  [ -f "$archive" ] || need_to_build
  provide
  if [ -n "$dry" ]; then would; return 0; fi
  open_stage "$prefix"
  fill_stage
  proof=''
  [ -z "$image" ] || prove
  [ ! -f "$manifest" ] || cat "$manifest" >>"$stage/manifest"
  (cd "$work" && find . ! -type d) | sed 's/^\.\///' >"$stage/files"
  while read -r file; do
    note "file $file"
    place "$work/$file" "$prefix/$file"
  done <"$stage/files"
  make_dir "$(dirname "$state")"
  [ -e "$state" ] || step "rm $state"
  keep_hooks
  "$prefix/bin/vmclaude" hook --install || fail 'cannot put the hooks in place'
  [ -z "$shells" ] || edit_all
  sort -u "$stage/manifest" >"$work/manifest"
  place "$work/manifest" "$manifest"
  say "vmclaude is installed in $prefix."
  [ -z "$proof" ] || say "A VM booted: $proof."
  [ -z "$shells" ] || say 'Open a new terminal, go to a project and type: vmclaude enroll'
}
keep_hooks() { # what the program is about to write into the state directory: no list in place of one that was lost
  begun=$(ls -d "$state/registry" "$state/registry.lock" "$state/shims" "$state/where" "$state/wrapper" 2>/dev/null) || :
  [ -n "$begun" ] || step "rm $state/registry"
  [ -e "$state/shims" ] || step "rmdir $state/shims"
  for name in exe dirs hook.zsh hook.bash hook.fish env.sh where wrapper shims/claude registry.lock; do
    if [ -f "$state/$name" ]; then keep "$state/$name"; else [ -e "$state/$name" ] || step "rm $state/$name"; fi
  done
}
would() {
  if [ -f "$archive" ]; then say "would unpack $archive"; else say "would build in $here"; fi
  [ -z "$image" ] || say 'would build the image and boot a VM from it'
  say "would install into $prefix: bin lib/vmclaude share/man and completions"
  say "would put the hooks into $state"
  [ -z "$shells" ] || edit_all
}
unguard() { # our hook in the settings of the host's Claude Code
  settings=${CLAUDE_CONFIG_DIR:-$HOME/.claude}/settings.json
  grep -qs 'vmclaude.* guard' "$settings" || return 0
  if [ -n "$dry" ]; then say "would take out: the hook of vmclaude in $settings"; return 0; fi
  real=$(readlink -f "$settings") && keep "$real"
  "$prefix/bin/vmclaude" guard --remove 2>"$stage/unguard" || say "$settings still has a hook of vmclaude: take it out by hand" \
    "($(sed -n 's/^ *because //p' "$stage/unguard"))"
  rm -f "$state/no-guard"
}
uninstall_all() {
  [ -f "$manifest" ] || fail "vmclaude is not installed in $prefix" 'try: ./install.sh --uninstall --prefix DIR'
  if [ -n "$dry" ]; then sed 's/^/would take out: /' "$manifest"; unguard; return 0; fi
  [ -z "$purge" ] || ask 'Remove images, settings, conversations and logins for good?' y/N ||
    fail 'nothing was removed' 'because --purge was not confirmed' 'try: ./install.sh --uninstall --purge --yes'
  stay=$prefix # the nearest directory that was there before us
  while grep -qxF "dir $stay" "$manifest"; do stay=$(dirname "$stay"); done
  open_stage "$stay"
  unguard
  if [ -n "$purge" ] && [ -f "$data/images/apple.json" ]; then
    "$prefix/bin/vmclaude" image rm --all || say "Apple's container keeps the image: container image list"
  fi
  sort -r "$manifest" >"$stage/todo" # what lies in a directory comes before it
  while read -r what name; do
    case $what in rc) unedit "$name" ;; file) take "$prefix/$name" ;; esac
  done <"$stage/todo"
  take "$manifest"
  if [ -n "$purge" ]; then
    for dir in "$state" "$data" "$config" "$cache" "$HOME/.vm-claude"; do rm -rf "$dir"; done
    say 'vmclaude is gone, and everything that it kept.'
  else
    say "vmclaude is gone. Kept: $state, $data, $HOME/.vm-claude and its settings (--purge removes them)."
  fi
  while read -r what name; do
    [ "$what" != dir ] || ! rmdir "$name" 2>/dev/null || step "mkdir $name"
  done <"$stage/todo"
  say 'claude runs on the host again, in every directory. Close the terminals that are open.'
}

helpers=vmclaude-shim # programs in lib/vmclaude; on a Mac the image has its supervisor already
[ "$os" = darwin ] || helpers="$helpers vmclaude-init"
case $os in linux | darwin) ;; *) fail "vmclaude runs on Linux and macOS, not on $os" ;; esac
if [ $mode = build ]; then
  need_to_build
  provide
  build_only
  exit 0
fi
[ -d "${HOME:-}" ] || fail 'there is no home directory' 'try: export HOME=/path/to/your/home'
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
# Where the program itself keeps them.
state=$(xdg "${XDG_STATE_HOME-}" .local/state)/vmclaude data=$(xdg "${XDG_DATA_HOME-}" .local/share)/vmclaude
config=$(xdg "${XDG_CONFIG_HOME-}" .config)/vmclaude cache=$(xdg "${XDG_CACHE_HOME-}" .cache)/vmclaude
if [ "$os" = darwin ]; then
  data=$HOME/Library/Application\ Support/vmclaude cache=$HOME/Library/Caches/vmclaude
  state=$data/state config=$data
fi
manifest=$prefix/lib/vmclaude/manifest
case $prefix$HOME$state in *'
'*) fail 'there is a newline in the name of a directory' 'try: ./install.sh --prefix DIR' ;; esac
[ -z "${SUDO_USER-}" ] || [ -O "$HOME" ] || fail "$HOME is not root's" 'try: ./install.sh without sudo'
# shellcheck source=shell/start-files.sh
. "$here/shell/start-files.sh"
case $mode in uninstall) uninstall_all ;; *) install_all ;; esac
