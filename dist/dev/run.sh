#!/bin/sh
# make run: builds the daemon, serves a private store in ./run, loads an image made here, shows it,
# and keeps serving. Needs neither root nor configuration. `run.sh clean` removes ./run.
set -eu
cd "$(dirname "$0")/../.."
. dist/dev/common.sh

here=$(pwd -P)
run=$here/run
image=localhost/hello:latest

if [ "${1:-}" = clean ]; then
    # Files of subordinate users can only be removed inside of a namespace like the daemon's.
    if [ "$(id -u)" = 0 ]; then
        exec rm -rf "$run"
    fi
    unshare --map-root-user --map-auto rm -rf "$run" 2>/dev/null || exec unshare --map-root-user rm -rf "$run"
    exit
fi

have curl || apt_install curl || die "curl is needed: sudo apt-get install curl"
need_toolchain
choose_features
say "building"
# shellcheck disable=SC2086 # a list of words
cargo build --release --locked $features
program=${CARGO_TARGET_DIR:-target}/release/imaged

# Names of Unix sockets have at most 107 bytes.
socket=$run/imaged.sock
if [ "${#socket}" -gt 107 ]; then
    socket=${XDG_RUNTIME_DIR:-/tmp}/imaged-run-$(id -u).sock
fi
api=http://d/v5.0.0/libpod
call() { curl -sS --fail-with-body --unix-socket "$socket" "$@"; }
# ask METHOD PATH JQ-FILTER CURL-OPTION...: calls, and prints the answer.
ask() {
    say "$1 $api/$2"
    method=$1 path=$2 filter=$3
    shift 3
    if ! call -X "$method" "$@" "$api/$path" >"$run/answer"; then
        cat "$run/answer" >&2
        return 1
    fi
    if have jq; then jq -r "$filter" "$run/answer"; else cat "$run/answer"; echo; fi
}

if [ -S "$socket" ] && call -o /dev/null "http://d/_ping" 2>/dev/null; then
    die "already running on $socket"
fi

umask 077
mkdir -p "$run"
umask 022
if [ ! -f "$run/hello.tar" ]; then
    say "making an image of busybox"
    mkdir -p "$run/cache"
    dist/dev/demo-image.sh "$run/hello.tar" "$run/cache"
fi

# Without subordinate IDs only one user can own files; this store is private, so files of others
# may become that user's.
set --
if [ "$(id -u)" != 0 ] && ! { have newuidmap && have newgidmap &&
    grep -q -E "^($(id -un)|$(id -u)):" /etc/subuid && grep -q -E "^($(id -un)|$(id -u)):" /etc/subgid; } 2>/dev/null
then
    echo "no subordinate IDs for $(id -un): all files of images will belong to $(id -un)"
    set -- --storage-opt overlay.ignore_chown_errors=true
fi

# Nothing is pulled without a signature policy. Where the host has none, this private store gets one.
if [ ! -e "${HOME:-/}/.config/containers/policy.json" ] && [ ! -e /etc/containers/policy.json ]; then
    echo "no signature policy on this host: this store takes images from everywhere ($run/policy.json)"
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$run/policy.json"
    export IMAGED_SIGNATURE_POLICY="$run/policy.json"
fi

# Shows the service; runs beside it.
demonstrate() {
    tries=0
    until [ -S "$socket" ] && call -o /dev/null "http://d/_ping" 2>/dev/null; do
        kill -0 "$daemon" 2>/dev/null || return 1
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "no answer on $socket" >&2; return 1; }
        sleep 0.1
    done
    ask POST images/load . --data-binary "@$run/hello.tar"
    ask GET images/json .
    ask GET "images/$image/json" .
    ask GET "images/$image/tree" .Tree
    cat <<EOF

Serving on $socket. Talk to it with

    curl --unix-socket $socket $api/images/json
    podman --url unix://$socket images
    podman --url unix://$socket image inspect $image
    podman --url unix://$socket save -o hello.tar $image

The store is $run/store. Ctrl-C stops.
EOF
}

say "starting"
daemon=$$
(
    trap '[ "$?" = 0 ] || kill -TERM "$daemon" 2>/dev/null' EXIT
    demonstrate
) &
# In the place of this shell: signals reach it as they come.
export IMAGED_LOG="${IMAGED_LOG:-warn}"
exec "$program" --root "$run/store" --runroot "$run/runroot" "$@" serve --listen "unix://$socket"
