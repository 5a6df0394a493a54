# shellcheck shell=bash
# Shared by .ci/run, .ci/full and .ci/images; to be sourced. Stops at the first failure and reports it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# For programs installed by cargo, such as cargo-deny.
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
export CARGO_TERM_COLOR=never

# .ci/full continues the clock of .ci/run.
SECONDS=${CI_SECONDS:-0}
section_name=""
trap finish EXIT

# Prints the name of a section and the time elapsed.
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

# Installs missing Debian packages, without starting servers.
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
