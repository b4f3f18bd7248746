#!/bin/sh
# Packs a finished root for the Linux engine. Runs outside of it as mmdebstrap's hook, in the same user namespace, so that
# owners and set-id bits are what they should be.
#   pack.sh ROOT KERNEL-META-PACKAGE    results in ROOT/.vmclaude/out: base.erofs, kernel/*.deb, node/
set -eu
root=$1
meta=$2
out=$root/.vmclaude/out
export APT_CONFIG="${MMDEBSTRAP_APT_CONFIG:-/dev/null}"
mkdir -p "$out/kernel" "$out/node/bin" "$out/node/lib"

depends() { apt-cache depends "$1" | sed -n 's/^ *Depends: //p'; }

# Fetched and later unpacked, never installed: its dependencies would triple the image.
fetch_kernel() {
    image=$(depends "$meta" | grep '^linux-image-[0-9]' | head -n 1)
    # Ubuntu keeps the modules in a package of their own.
    modules=$(depends "$image" | grep '^linux-modules-[0-9]' || true)
    cd "$out/kernel"
    # shellcheck disable=SC2086 # no word or one
    apt-get -o APT::Sandbox::User=root download "$image" $modules
    cd /
}

# What the build left: the host's names and addresses, lists, logs, the configuration that mmdebstrap passed to apt.
clean_up() {
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
        "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/log/* "$root"/var/cache/ldconfig/*
    rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/resolv.conf" "$root/etc/hostname"
    : >"$root/etc/machine-id"
    # The same sources as the host's, without passwords.
    find "$root/etc/apt" -name '*.list' -exec sed -i -E 's#(://)[^/@ ]*@#\1#' {} +
}

fetch_kernel
clean_up
# npm, for fetching Claude Code later without building all this again.
cp -a "$root/usr/local/bin/node" "$out/node/bin/"
cp -a "$root/usr/local/lib/node_modules/npm" "$out/node/lib/"
# mmdebstrap mounted /proc and others in there; a bind mount shows the tree without them.
mkdir "$root/.vmclaude/plain"
mount --bind "$root" "$root/.vmclaude/plain"
mkfs.erofs --quiet --exclude-regex='^(\.vmclaude|(proc|sys|dev|run|tmp)/.*)$' "$out/base.erofs" "$root/.vmclaude/plain"
umount "$root/.vmclaude/plain"
