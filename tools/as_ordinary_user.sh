#!/bin/sh
# Runs a command as an ordinary user, in a new folder under .scratch/ that is also its home; otherwise like in_scratch.sh. Started as root it
# becomes "nobody". If Python or this checkout lie below a folder that nobody may enter, as in root's home, it keeps the right to read
# everything, and no other right of root's.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root/.scratch"
folder=$(mktemp -d "$root/.scratch/XXXXXX")
cd "$folder"
export HOME="$folder"
status=0
if [ "$(id -u)" -eq 0 ]; then
    command -v setpriv >/dev/null || { echo "as_ordinary_user: there is no setpriv (package util-linux)" >&2; exit 1; }
    chown nobody "$folder"
    export USER=nobody LOGNAME=nobody PYTHONDONTWRITEBYTECODE=1
    become="setpriv --reuid nobody --regid $(id -g nobody) --clear-groups --no-new-privs"
    python=$(readlink -f "$root/.venv/bin/python" || command -v python3)
    if $become test -x "$python" -a -r "$root/Makefile" -a -x "$folder"; then
        $become --inh-caps=-all --bounding-set=-all "$@" || status=$?
    else
        $become --inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search --bounding-set=-all,+dac_read_search "$@" || status=$?
    fi
else
    "$@" || status=$?
fi
if [ "$status" -eq 0 ]; then
    cd "$root"
    rm -rf "$folder"
else
    echo "as_ordinary_user: it ran in $folder, which is kept" >&2
fi
exit "$status"
