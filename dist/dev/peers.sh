#!/bin/sh
# Installs the peers of the tests, below TARGET: from PyPI into peers-venv, in exactly the versions of
# tests/peers/requirements.txt, and from crates.io into peers-rust, as in tests/peers/rust/Cargo.lock.
# Does nothing when they are there already.
set -eu
cd "$(dirname "$0")/../.."
. dist/dev/common.sh

need_toolchain
say "Rust peers"
cargo build --quiet --locked --manifest-path tests/peers/rust/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}/peers-rust"

pins=tests/peers/requirements.txt
venv=${CARGO_TARGET_DIR:-target}/peers-venv

if cmp -s "$pins" "$venv/installed.txt"; then
    exit 0
fi
# Debian's own before whatever else a PATH may have.
for python in /usr/bin/python3 python3; do
    "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    python=
done
[ -n "$python" ] || die "Python 3.11 or newer that can make virtual environments is needed: python3-venv"

say "Python peers"
rm -rf "$venv"
mkdir -p "$venv"
"$python" -m venv "$venv"
# Without dependencies: what is not pinned is not installed, and what is missing is told.
"$venv/bin/pip" install --quiet --disable-pip-version-check --retries 10 --no-deps --requirement "$pins"
"$venv/bin/pip" check --disable-pip-version-check
cp "$pins" "$venv/installed.txt"
