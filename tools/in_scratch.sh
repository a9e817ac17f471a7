#!/bin/sh
# Runs a command in a new folder under .scratch/, for programs that litter where they run (as Parsl's test suite does). The folder goes
# when the command succeeds; otherwise it stays, for its logs, until "make clean".
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root/.scratch"
folder=$(mktemp -d "$root/.scratch/XXXXXX")
cd "$folder"
status=0
"$@" || status=$?
if [ "$status" -eq 0 ]; then
    cd "$root"
    rm -rf "$folder"
else
    echo "in_scratch: it ran in $folder, which is kept" >&2
fi
exit "$status"
