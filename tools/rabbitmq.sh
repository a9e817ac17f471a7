#!/bin/sh
# Makes sure that a RabbitMQ broker can be had for Globus Compute on localhost. In this order:
#   1. RABBITMQ_URL names a broker: nothing to do;
#   2. a rabbitmq-server program is on PATH, or in Debian's folder: nothing to do;
#   3. apt can install one, as root or through sudo without a password: install it.
# Otherwise says what can be done, and fails. Only the program is wanted: the node that the tests use is private and
# started by them, so no system service is started or left enabled here.
set -eu

DEBIAN_BIN=/usr/lib/rabbitmq/bin       # The programs themselves; the ones in /usr/sbin are wrappers that want root.
POLICY=/usr/sbin/policy-rc.d           # Asked by Debian's package scripts before they start a service; 101 forbids.
UNITS="rabbitmq-server.service epmd.service epmd.socket"

has_server() {
    command -v rabbitmq-server >/dev/null 2>&1 || [ -x "$DEBIAN_BIN/rabbitmq-server" ]
}

give_up() {
    cat >&2 <<TEXT
rabbitmq: $1
RabbitMQ is needed, in one of these three ways:
  1. install it yourself, so that rabbitmq-server is on PATH (Debian, Ubuntu: apt-get install rabbitmq-server);
  2. name a running broker that the tests may use: RABBITMQ_URL=amqp://user:password@127.0.0.1:5672/ make ...;
  3. on Debian or Ubuntu, run "make rabbitmq" as root, or as a user who may use sudo without a password.
TEXT
    exit 1
}

unit_exists() {
    [ -e "/lib/systemd/system/$1" ] || [ -e "/usr/lib/systemd/system/$1" ]
}

starts_forbidden() {
    [ -x "$POLICY" ] || return 1
    status=0
    "$POLICY" rabbitmq-server start >/dev/null 2>&1 || status=$?
    [ "$status" -eq 101 ]
}

restore_policy() {
    if [ -e "$POLICY.before-rabbitmq" ]; then
        mv -f "$POLICY.before-rabbitmq" "$POLICY"
    else
        rm -f "$POLICY"
    fi
}

forbid_starts() {
    starts_forbidden && return
    trap restore_policy EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ -e "$POLICY" ]; then
        mv "$POLICY" "$POLICY.before-rabbitmq"
    fi
    printf '#!/bin/sh\nexit 101\n' > "$POLICY"
    chmod 755 "$POLICY"
}

# Runs as root. A unit that was there before is its owner's choice, and left as it is.
install_server() {
    new_units=""
    for unit in $UNITS; do
        unit_exists "$unit" || new_units="$new_units $unit"
    done
    forbid_starts
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends rabbitmq-server
    # Without systemctl there is no systemd to heed the links that the packages made.
    if [ -n "$new_units" ] && command -v systemctl >/dev/null 2>&1; then
        systemctl --quiet disable $new_units
    fi
    case "$new_units" in
        *rabbitmq-server*) update-rc.d rabbitmq-server disable ;;
    esac
}

if [ "${1:-}" = "--install" ]; then
    install_server
    exit 0
fi
if [ -n "${RABBITMQ_URL:-}" ] || has_server; then
    exit 0
fi
sh "$(dirname "$0")/apt_as_root.sh" "$0" --install || give_up "not found, and could not be installed (see above)."
has_server || give_up "apt-get installed rabbitmq-server, but its program is neither on PATH nor in $DEBIAN_BIN."
