#!/bin/sh
# The programs outside Python that the tests drive: a real broker, systemd's own checker, a tracer of system calls, a
# Modbus master, and a C compiler with libmodbus for a Modbus server.
# What is there already is left alone; what is missing comes from Debian's packages, as root or through sudo.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need mosquitto mosquitto
need mosquitto_pub mosquitto-clients
need systemd-analyze systemd
need strace strace
need mbpoll mbpoll
need cc "gcc libc6-dev"
# A header says nothing on the path; the compiler finds it wherever this system keeps it.
printf '#include <stdio.h>\n#include <modbus/modbus.h>\n' | cc -E -x c - >/dev/null 2>&1 ||
    missing="$missing libmodbus-dev libc6-dev"
[ -n "$missing" ] || exit 0

give_up() {
    echo "tests need these programs and could not install them:$missing" >&2
    echo "$1" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 ||
    give_up "There is no apt-get here: install them with this system's own package tool, then run again."
if [ "$(id -u)" -eq 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1; then
    root="sudo"
else
    give_up "Not root and no sudo: as root, run  apt-get install$missing"
fi

echo "installing Debian packages for the tests:$missing"
apt() { $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
# A stale list names packages that are gone, a missing one names none: refresh first, and let the install decide.
apt update >/dev/null || echo "the package lists could not be refreshed; trying with those at hand" >&2
# shellcheck disable=SC2086  # a list of names on purpose
apt install --yes --no-install-recommends $missing >/dev/null || give_up "apt-get failed; its words are above."

# Debian starts the broker as a service with its package. The tests bring their own, each on a port of its own.
case "$missing " in
*" mosquitto "*)
    if [ -d /run/systemd/system ]; then
        $root systemctl disable --now mosquitto.service >/dev/null 2>&1 || true
    elif command -v service >/dev/null 2>&1; then
        $root service mosquitto stop >/dev/null 2>&1 || true
    fi
    if command -v pgrep >/dev/null 2>&1 && pgrep -u mosquitto -x mosquitto >/dev/null; then
        give_up "The mosquitto service that came with the package is still running: stop it, then run again."
    fi
    ;;
esac
