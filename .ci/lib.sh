# shellcheck shell=bash
# What .ci/run and .ci/full share; to be sourced. It stops at the first failure, and says at which.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Programs that cargo has installed, such as cargo-deny.
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
export CARGO_TERM_COLOR=never

# .ci/full goes on counting where .ci/run has come to.
SECONDS=${CI_SECONDS:-0}
section_name=""
trap finish EXIT

# Says what comes now, and how long all before it has taken.
section() {
    section_name="$1"
    printf '\n=== [%4d s] %s\n' "$SECONDS" "$1"
}

finish() {
    local code=$?
    if [ "$code" -ne 0 ]; then
        printf '\n=== [%4d s] FAILED (%d): %s: %s\n' "$SECONDS" "$code" "${0##*/}" "$section_name" >&2
    fi
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Installs Debian packages; only where one is missing. A server among them is not started.
debian() {
    local package missing=() policy=/usr/sbin/policy-rc.d made=
    for package in "$@"; do
        dpkg --status "$package" 2>/dev/null | grep -q '^Status: install ok' || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    printf 'installing %s\n' "${missing[*]}"
    apt-get update -qq
    if [ ! -e "$policy" ]; then
        made=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        { rm -f "$made"; return 1; }
    rm -f "$made"
}
