#!/bin/sh
# Makes sure that there is a chromium program, in which the tests look at the page of a run; installs Debian's if it may.
set -eu

give_up() {
    cat >&2 <<TEXT
chromium: $1
A chromium program is needed on PATH. Install it (Debian: apt-get install chromium), or run this as root or as a user who may use sudo
without a password.
TEXT
    exit 1
}

has_chromium() {
    command -v chromium >/dev/null 2>&1
}

if [ "${1:-}" = "--install" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends chromium
    exit 0
fi
has_chromium && exit 0
sh "$(dirname "$0")/apt_as_root.sh" "$0" --install || give_up "not found, and could not be installed (see above)."
has_chromium || give_up "apt-get installed it, but it is not on PATH."
