#!/bin/sh
# Makes a docker-archive of a busybox system on this machine: demo-image.sh OUTPUT CACHE-DIRECTORY
#
# Two layers: the system, and a few files above it, one of which deletes one below. Nothing of the
# image is downloaded but Debian's package of busybox, and that only where busybox is not installed.
set -eu
. "$(dirname "$0")/common.sh"
output=$1
cache=$2
name=localhost/hello:latest

is_static() { [ -x "$1" ] && ! ldd "$1" >/dev/null 2>&1; }

# Prints the path of a static busybox.
find_busybox() {
    for program in "$(command -v busybox || true)" /bin/busybox /usr/bin/busybox \
        "$cache/busybox/bin/busybox" "$cache/busybox/usr/bin/busybox"; do
        if is_static "$program"; then
            echo "$program"
            return
        fi
    done
    return 1
}

# Unpacks Debian's package below the cache. Works without root: nothing is installed.
fetch_busybox() {
    have apt-get && have dpkg-deb || return 1
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
    if ! (cd "$cache/apt" && apt-get download -q busybox-static) >"$cache/apt/log" 2>&1; then
        # The package lists of the system are missing or old: use private ones.
        own="-o Dir::State::lists=$cache/apt/lists -o Dir::Cache=$cache/apt -o APT::Sandbox::User="
        # shellcheck disable=SC2086 # a list of words
        (
            cd "$cache/apt"
            apt-get $own update -q && apt-get $own download -q busybox-static
        ) >>"$cache/apt/log" 2>&1 || { cat "$cache/apt/log" >&2; return 1; }
    fi
    dpkg-deb -x "$cache"/apt/busybox-static_*.deb "$cache/busybox"
}

busybox=$(find_busybox) || {
    fetch_busybox || die "a static busybox is needed: sudo apt-get install busybox-static"
    busybox=$(find_busybox) || die "Debian's busybox is not static"
}

work=$(mktemp -d "$cache/image.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022

# The system.
root=$work/root
for directory in bin dev etc home/guest proc root run sys tmp usr/bin usr/share/doc/busybox var/log; do
    mkdir -p "$root/$directory"
done
chmod 700 "$root/root"
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
ln "$root/bin/busybox" "$root/usr/bin/busybox"
printf 'root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home/guest:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nguest:x:1000:\n' >"$root/etc/group"
printf 'PRETTY_NAME="busybox"\nID=busybox\n' >"$root/etc/os-release"
echo 'removed by the upper layer' >"$root/usr/share/doc/busybox/README"
echo 'export PS1="\u@hello:\w\$ "' >"$root/home/guest/.profile"

# The files above it.
above=$work/above
mkdir -p "$above/etc" "$above/usr/bin" "$above/usr/share/doc/busybox"
echo 'Hello from an image that was made on this machine.' >"$above/etc/motd"
printf '#!/bin/sh\ncat /etc/motd\n' >"$above/usr/bin/hello"
chmod 755 "$above/usr/bin/hello"
: >"$above/usr/share/doc/busybox/.wh.README"

pack() { tar --sort=name --numeric-owner --mtime=@1700000000 --format=pax \
    --pax-option=delete=atime,delete=ctime "$@"; }
id_of() { sha256sum "$1" | cut -d' ' -f1; }

cd "$work"
pack --owner=0 --group=0 --exclude=./home/guest -C root -cf lower.tar .
pack --owner=1000 --group=1000 -C root -rf lower.tar ./home/guest
pack --owner=0 --group=0 -C above -cf upper.tar .
lower=$(id_of lower.tar)
upper=$(id_of upper.tar)
mv lower.tar "$lower.tar"
mv upper.tar "$upper.tar"

case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    armv*) architecture=arm ;;
    i?86) architecture=386 ;;
    *) architecture=$(uname -m) ;;
esac
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
cat >config.json <<JSON
{"architecture":"$architecture","os":"linux","created":"$now","author":"make run","config":{"Env":["PATH=/usr/bin:/bin"],"Cmd":["/usr/bin/hello"],"WorkingDir":"/","Labels":{"org.opencontainers.image.title":"hello"}},"rootfs":{"type":"layers","diff_ids":["sha256:$lower","sha256:$upper"]},"history":[{"created":"$now","created_by":"busybox"},{"created":"$now","created_by":"hello","comment":"with a file removed"},{"created":"$now","created_by":"CMD [\"/usr/bin/hello\"]","empty_layer":true}]}
JSON
config=$(id_of config.json)
mv config.json "$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s.tar","%s.tar"]}]\n' \
    "$config" "$name" "$lower" "$upper" >manifest.json
pack --owner=0 --group=0 -cf archive.tar "$lower.tar" "$upper.tar" "$config.json" manifest.json
mv archive.tar "$output"
