# What a machine must have before anything is built or installed. Part of install.sh, which has say, fail, ask, has and the
# variables os, arch, archive, config and dry.
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
sources() { # an installed copy of this script has none, and an archive needs none
  [ -f "$here/Cargo.lock" ] || fail "there are no sources of vmclaude in $here" \
    "try: install.sh in vmclaude's sources, or --uninstall"
}
need_to_build() {
  sources
  builds=1
  if [ "$os" = darwin ]; then need_to_build_on_a_mac; return 0; fi
  need cc build-essential
  find_cargo || missing="$missing cargo-web rustc-web"
  for lib in seccomp cap-ng; do
    printf 'int main(void){return 0;}' | cc -x c - "-l$lib" -o /dev/null 2>/dev/null || missing="$missing lib$lib-dev"
  done
}
need_to_run() {
  if [ "$os" = darwin ]; then need_to_run_on_a_mac; return 0; fi
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

# --- macOS: nothing is installed for you, each thing is named -------------------------------------------------------
need_to_build_on_a_mac() {
  # cc itself is always there: a program that only asks for these tools.
  xcode-select -p >/dev/null 2>&1 || fail "Apple's command line tools are not installed" 'because Rust links with them' \
    'try: xcode-select --install'
  find_cargo || fail 'there is no cargo 1.88 or later' 'try: rustup update, or brew install rust'
}
need_to_run_on_a_mac() {
  # Without the variable it can name an older system, for old programs.
  version=$(SYSTEM_VERSION_COMPAT=0 sw_vers -productVersion 2>/dev/null) || version=unknown
  case ${version%%.*} in '' | *[!0-9]*) major=0 ;; *) major=${version%%.*} ;; esac
  [ "$major" -ge 26 ] || fail "this is macOS $version" 'because the VM needs macOS 26' 'try: update macOS'
  if [ "$arch" != aarch64 ]; then
    [ "$(sysctl -n hw.optional.arm64 2>/dev/null)" != 1 ] ||
      fail 'this terminal runs programs for Intel processors' 'because it was started in Rosetta' \
        'try: arch -arm64 /bin/sh ./install.sh'
    fail 'this Mac has an Intel processor' 'because the VM needs Apple silicon'
  fi
  need_container
}
need_container() {
  update='/usr/local/bin/update-container.sh, or: brew upgrade container'
  container=$(command -v container) || fail "Apple's container is not installed" \
    'because it runs the VM, from version 1.0.0 on' \
    'try: brew install container, or the package of the newest release of github.com/apple/container' \
    'then: container system start'
  said=$("$container" --version 2>&1 </dev/null) || :
  version=$(printf '%s\n' "$said" | sed -n 's/^container .*version \([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
  [ -n "$version" ] || fail "cannot tell the version of Apple's container" "because $container --version says: $said" \
    "try: $update"
  not_before 1.0.0 || fail "Apple's container $version is too old" 'because 1.0.0 is the first that vmclaude can use' \
    "try: $update"
  not_before 1.2.1 || printf 'install.sh: %s\n  %s\n  %s\n' "Apple's container $version has known security faults" \
    'because 1.2.1 mends them' "try: $update" >&2
  # The program never looks for it in PATH, which an enrolled directory could be part of.
  case $container in /usr/local/bin/container | /opt/homebrew/bin/container) return 0 ;; esac
  grep -qs '^[[:blank:]]*container[[:blank:]]*=' "$config/config.toml" ||
    fail "Apple's container is in an unusual place, $container" \
      'because vmclaude looks in /usr/local/bin and /opt/homebrew/bin, unless it is told' \
      "try: the line container = \"$container\" in $config/config.toml"
}
not_before() { # whether $version is $1 or later, number by number
  printf '%s\n%s\n' "$1" "$version" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1 | grep -qxF "$1"
}
