#!/bin/sh
# Runs a command as an ordinary user, in a new folder under .scratch/ that is also its home; like in_scratch.sh otherwise. Started as root it
# becomes "nobody", who may write nowhere else, but may read everything: Python and this checkout may lie below a folder of root's.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if [ "$(id -u)" -ne 0 ]; then
    exec "$root/tools/in_scratch.sh" "$@"
fi
command -v setpriv >/dev/null || { echo "as_ordinary_user: there is no setpriv (package util-linux)" >&2; exit 1; }
mkdir -p "$root/.scratch"
folder=$(mktemp -d "$root/.scratch/XXXXXX")
chown nobody "$folder"
cd "$folder"
status=0
HOME=$folder USER=nobody LOGNAME=nobody PYTHONDONTWRITEBYTECODE=1 setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups \
    --inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search --bounding-set=-all,+dac_read_search "$@" || status=$?
if [ "$status" -eq 0 ]; then
    cd "$root"
    rm -rf "$folder"
else
    echo "as_ordinary_user: it ran in $folder, which is kept" >&2
fi
exit "$status"
