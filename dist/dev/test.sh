#!/bin/sh
# make test: installs what the tests need from Debian and PyPI, where it is missing, and runs
# everything.
#
# Nothing is skipped: a missing tool fails the tests that need it. Stores are written as root, so for
# other users the tests run under sudo.
set -eu
cd "$(dirname "$0")/../.."
. dist/dev/common.sh

say "packages"
# The tools that share the store, and what builds and examines trees and archives.
apt_install ca-certificates build-essential \
    podman buildah skopeo containers-storage docker-registry gnupg openssl crun fuse-overlayfs uidmap \
    debootstrap strace curl jq tar gzip bzip2 xz-utils zstd attr libcap2-bin procps util-linux bsdextrautils \
    mount e2fsprogs xfsprogs btrfs-progs \
    python3 python3-venv \
    || echo "packages cannot be installed here; tests that need missing ones will fail"
need_toolchain
choose_features
[ -n "$features" ] || die "the tests are for the build with all features"
dist/dev/peers.sh
if [ "$(id -u)" != 0 ]; then
    have sudo || die "the tests write stores as root: run make test as root"
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=sudo -E"
fi

step() {
    say "$*"
    "$@"
}
step cargo fmt --check
step cargo fmt --check --manifest-path tests/peers/rust/Cargo.toml
step cargo fmt --check --manifest-path fuzz/Cargo.toml
# Also without any feature.
step cargo clippy --locked --lib --bins -- -D warnings
# shellcheck disable=SC2086 # a list of words
step cargo clippy --locked --all-targets $features -- -D warnings
# shellcheck disable=SC2086
step cargo test --locked $features
step dist/dev/fuzz.sh
say "cargo doc"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
say "all passed"
