# What a machine must have before anything is built or installed. Part of install.sh, which has say, fail, ask, has and the
# variables os, arch, dry and prefix.
# shellcheck shell=sh disable=SC2154
missing='' builds='' # packages; whether something will be compiled
need() { has "$1" || missing="$missing $2"; }

recent() { # whether this cargo is 1.88 or later
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version#cargo } minor=${version#1.}
  case $version in 1.*) [ "${minor%%.*}" -ge 88 ] ;; *) return 1 ;; esac
}
find_cargo() {
  for cargo in "${CARGO:-cargo}" "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" /usr/bin/cargo; do
    ! recent "$cargo" || return 0
  done
  return 1
}
need_to_build() {
  builds=1
  need cc build-essential
  find_cargo || missing="$missing cargo-web rustc-web"
  for lib in seccomp cap-ng; do
    printf 'int main(void){return 0;}' | cc -x c - "-l$lib" -o /dev/null 2>/dev/null || missing="$missing lib$lib-dev"
  done
}
need_to_run() {
  case $arch in aarch64) need qemu-system-aarch64 qemu-system-arm ;; *) need qemu-system-x86_64 qemu-system-x86 ;; esac
  need mmdebstrap mmdebstrap
  need mkfs.erofs erofs-utils
  need mkfs.ext4 e2fsprogs
  need newuidmap uidmap
  need depmod kmod
}
provide() { # the missing packages: installed by root, named to everybody else in one command
  [ -n "$missing" ] || return 0
  has apt-get || fail "this machine lacks what Debian packages as:$missing" \
    'try: install them with your package manager, then ./install.sh again'
  command="apt-get install --no-install-recommends$missing"
  if [ -n "$dry" ]; then say "would run: $command"; return 0; fi
  [ "$(id -u)" = 0 ] || fail "packages are missing:$missing" "try: sudo $command"
  ask "Install$missing?" Y/n || fail "packages are missing:$missing" "try: $command"
  # shellcheck disable=SC2086 # a list of words
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing; } >&2 ||
    fail "cannot install$missing" "try: $command"
  [ -z "$builds" ] || find_cargo || fail 'there is no cargo 1.88 or later' 'try: a newer Rust toolchain (rustup update)'
}
check_mac() {
  version=$(sw_vers -productVersion 2>/dev/null || echo 0)
  [ "${version%%.*}" -ge 26 ] || fail "this is macOS $version" 'because the VM needs macOS 26' 'try: update macOS'
  [ "$arch" = aarch64 ] || fail 'this Mac has an Intel processor' 'because the VM needs Apple silicon'
  has container || fail "Apple's container is not installed" \
    'try: the installer package of the newest release of github.com/apple/container, then container system start'
  fail "everything that vmclaude needs is here, and its engine for Apple's container is not finished" \
    'try: Linux for now'
}
