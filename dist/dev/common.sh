# shellcheck shell=sh
# Sourced by the scripts beside it: messages, Debian packages, the toolchain.

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, or fails.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# Installs those Debian packages that are missing. Fails where that is not possible.
apt_install() {
    have apt-get || return 1
    missing=
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
        [ "$status" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "installing:$missing"
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive sh -c '
        apt-get update -q >/dev/null
        apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
    ' apt $missing
}

# Makes sure that `cargo` and a C compiler are there, or says which command brings them.
need_toolchain() {
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    export PATH
    if ! have cc; then
        apt_install build-essential || die "a C compiler is needed: sudo apt-get install build-essential"
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! have cargo && have apt-cache && apt-cache show rustup >/dev/null 2>&1 \
        && apt_install rustup ca-certificates; then
        rustup default stable
    fi
    have cargo || die "Rust $wanted or newer is needed: curl --proto '=https' -sSf https://sh.rustup.rs | sh"
    found=$(cargo --version | cut -d' ' -f2)
    oldest=$(printf '%s\n' "$wanted" "$found" | sort -V | head -n1)
    [ "$oldest" = "$wanted" ] || die "Rust $wanted or newer is needed, cargo is $found: rustup update stable"
}

# Sets `features`, the options for cargo that choose the fastest build. What that takes is installed if
# possible.
choose_features() {
    apt_install nasm autoconf automake libtool make \
        || echo "gzip will be slower: building the faster one takes nasm, autoconf, automake and libtool"
    features=$(dist/dev/features.sh)
}
