#!/usr/bin/env bash
# File work in a project of many files: on the host, on the share as the guest sees it, on the guest's own disk, and on 9p. Each way
# in turns, in the same run; medians, and the ratio of the share to the guest's own disk, which is emulated as well.
#   tests/bench/files.sh [ROUNDS] [FILES...]     (default 3 rounds, 8000 and 100000 files; CHRT=1 as in start.sh)
#   NO_9P=1        without 9p, the slowest of them, and so with the image's own kernel and with warm starts
# It needs what tests/bench/world.sh needs, git, ripgrep, npm and cpio on the host, and apt's way to the package of a kernel; without
# npm's registry or that package the row or the column is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/world.sh
make_world "${1:-3}"
shift || :
export BENCH_FILES="${*:-8000 100000}"

# The image's kernel has no 9p, so in this benchmark every machine has its sibling that has it, of the same version: that kernel,
# its modules in place of the image's, and a QEMU that exports the directory which files.py names in a file.
kernel_with_9p() {
  local version package=$world/package more=$world/more name
  version=$(grep -a -m 1 -o 'Linux version [^ ]*' "$BENCH_KERNEL" | cut -d' ' -f3)
  version=${version/-cloud/}
  mkdir -p "$package" "$more/modules"
  (cd "$package" && apt-get -q download "linux-image-$version" && dpkg-deb -x ./*.deb . && depmod -b . "$version") \
    >/dev/null 2>&1 || return 1
  # Those that the image's kernel needs, what is built into that one, and 9p; each behind what it needs itself.
  { cpio -i --quiet --to-stdout modules/list <"${BENCH_KERNEL%/*}/modules.cpio" | sed 's/\.ko$//'; } >"$more/names" || return 1
  for name in crc32c_generic ext4 $(cat "$more/names") 9pnet_virtio 9p; do
    modprobe -d "$package" -S "$version" --show-depends "$name" 2>/dev/null || echo "builtin $name"
  done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$more/files"
  xargs cp -t "$more/modules/" <"$more/files"
  sed 's|.*/||' "$more/files" >"$more/modules/list"
  rm "$more/files" "$more/names"
  (cd "$more" && find . | cpio -o -H newc --quiet >"$world/more.cpio")
  cat >"$world/qemu" <<END
#!/bin/bash
args=("\$@")
for n in "\${!args[@]}"; do
  case \${args[n]} in
    -kernel) args[n + 1]=$(echo "$package"/boot/vmlinuz-*) ;;
    -initrd)
      cat "\${args[n + 1]}" $world/more.cpio >$world/initrd
      args[n + 1]=$world/initrd
      ;;
  esac
done
exec qemu-system-$(uname -m) "\${args[@]}" -virtfs "local,path=\$(cat $world/exported),mount_tag=bench,security_model=none"
END
  chmod 755 "$world/qemu"
  mkdir -p "$world/home/.config/vmclaude"
  printf 'sudo = true\nwarm_start = false\nqemu = "%s"\n' "$world/qemu" >"$world/home/.config/vmclaude/config.toml"
}
if [ "${NO_9P:-}" = 1 ]; then
  echo '9p: left out, as asked'
elif ! kernel_with_9p; then
  echo '9p: left out, the package of a kernel that has it cannot be had'
fi
measure files.py
