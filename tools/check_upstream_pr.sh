#!/usr/bin/env bash
# Checks what "make upstream-pr" has made, commit by commit, as Parsl's continuous integration and a reviewer would. Takes about half an
# hour, and needs RabbitMQ ("make rabbitmq") and the internet. Works in .scratch/upstream-check; the clone stays as it is.
#
# Usage: tools/check_upstream_pr.sh CLONE
#
# Where the documentation's build cannot reach the internet, DOCS_ANSWERS names a folder with what it would download: objects.inv of Python's
# documentation (in Debian's package python3-doc), and 1-parsl-introduction.ipynb, any notebook with a title.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
clone=$(cd "${1:-/nowhere}" 2>/dev/null && pwd) && tip=$(git -C "$clone" rev-parse --verify --quiet globus-compute-multi) || {
    echo "usage: tools/check_upstream_pr.sh CLONE, which has got its branches from \"make upstream-pr PARSL=CLONE\"" >&2
    exit 2
}
base=$(git -C "$clone" rev-parse globus-compute-multi-1-hooks^)
work=$root/.scratch/upstream-check
tree=$work/parsl
new_tests="parsl/tests/unit/test_task_observers.py parsl/tests/test_globus_compute_multi parsl/tests/test_local_globus_compute"
server=

# Root may write anywhere, so tests of permissions cannot pass for it.
[ "$(id -u)" -ne 0 ] || export PYTEST_ADDOPTS="-m 'not unix_filesystem_permissions_required'"

finish() {
    [ -z "$server" ] || kill "$server"
    rm -rf "$tree"
    git -C "$clone" worktree prune
}

step() {
    printf '\n== %s\n' "$*"
}

checkout() {
    git checkout --quiet --detach --force "$1"
    git clean -fdxq --exclude .mypy_cache
}

# VENV [EXTRAS]: a virtual environment as "make deps" and "pip install" of the present commit make it.
make_venv() {
    [ -x "$work/$1/bin/python" ] || python3 -m venv "$work/$1"
    "$work/$1/bin/pip" install -qq --upgrade pip
    "$work/$1/bin/pip" install -qq -r test-requirements.txt -r requirements.txt
    [ -z "${2:-}" ] || "$work/$1/bin/pip" install -qq ".[$2]"
}

# VENV: what upstream's "make isort lint flake8 mypy" runs.
lint() {
    "$work/$1/bin/flake8" parsl/
    "$work/$1/bin/isort" --check --quiet parsl/
    parsl/tests/lint-inits.sh
    MYPYPATH=$tree/mypy-stubs "$work/$1/bin/mypy" parsl/
}

# VENV PYTEST-ARGUMENT...: this commit's Parsl, whatever is installed.
run_pytest() {
    local venv=$1
    shift
    PYTHONPATH=$tree "$work/$venv/bin/pytest" "$@" --random-order --quiet
}

# VENV: the tests that upstream's "make config_local_test" selects, without parameters, some of which are random.
config_local_tests() {
    PYTHONPATH=$tree "$work/$1/bin/pytest" parsl/tests/ --config local --collect-only --quiet \
        -k "not cleannet and not workqueue and not taskvine and not globus_compute" | grep :: | sed 's/\[.*//' | sort -u
}

# VENV: how many tests pass in upstream's "make local_thread_test". One is left out that reads a zip file while a thread writes it.
local_threads_passed() {
    run_pytest "$1" parsl/tests/ -k "not cleannet and not test_stdout_stderr_staging_zip" --config parsl/tests/configs/local_threads.py | tee -a /dev/stderr | grep -o '[0-9]* passed'
}

trap finish EXIT
mkdir -p "$work"
finish
git -C "$clone" worktree add --quiet --detach "$tree" "$tip"
cd "$tree"

step "Virtual environments: plain, as upstream's CI has it; full, with the new extra; docs"
make_venv plain
make_venv full globus_compute_multi
make_venv docs docs

for commit in "$base" $(git rev-list --reverse "$base..$tip"); do
    checkout "$commit"
    step "$(git log -1 --format='%h %s')"
    lint plain
    lint full
    tests=$(ls -d $new_tests 2>/dev/null || true)
    [ -z "$tests" ] || run_pytest full $tests --config local
done

step "Upstream's own targets select and pass the tests that they did"
for venv in plain full; do
    checkout "$base"
    config_local_tests $venv > "$work/tests-before"
    passed_before=$(local_threads_passed $venv)
    checkout "$tip"
    config_local_tests $venv | grep -v '^unit/test_task_observers.py' > "$work/tests-after"
    diff "$work/tests-before" "$work/tests-after"
    [ "$(local_threads_passed $venv)" = "$passed_before" ]
done

step "Documentation, warnings are errors"
if [ -n "${DOCS_ANSWERS:-}" ]; then
    port=$("$work/docs/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$work/docs/bin/python" -m http.server --bind 127.0.0.1 --directory "$DOCS_ANSWERS" "$port" 2>"$work/server.log" &
    server=$!
    mkdir -p "$work/redirect"
    cat > "$work/redirect/sitecustomize.py" <<TEXT
import requests

really = requests.Session.request
requests.Session.request = lambda self, method, url, **options: really(
    self, method, f"http://127.0.0.1:$port/{url.rsplit('/', 1)[-1]}", **options)
TEXT
fi
PYTHONPATH=$work/redirect:$tree PATH=$work/docs/bin:$PATH make -C docs SPHINXOPTS=-W html | tail -n 3

for target in gce_multi_test gce_multi_local_test; do
    step "make $target"
    PATH=$work/full/bin:$PATH make "$target"
done
step "All is well"
