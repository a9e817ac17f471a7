#!/bin/sh
# Runs a script that installs something with apt, with its arguments, as root or through sudo without a password; says why if it cannot.
set -eu

refuse() {
    echo "$1" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || refuse "This machine has no apt-get to install it with."
if [ "$(id -u)" -eq 0 ]; then
    exec sh "$@" >&2
elif sudo -n true 2>/dev/null; then
    exec sudo -n sh "$@" >&2
fi
refuse "You are neither root nor allowed to use sudo without a password."
