# shellcheck shell=bash
# What the system tests and .ci/run have in common: installing by name, and running the daemon. Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Both are set by run: a folder that it removes, and where the checks' outcomes are counted.
work=${work:-${TMPDIR:-/tmp}}
results=${results:-/dev/null}
binary=${WS_ROUTER:-${CARGO_TARGET_DIR:-$top/target}/package/release/ws-router}

# Installs the packages whose programs are missing: need PROGRAM:PACKAGE... Fails where that can't be done.
need() {
    local wanted=() one apt=(apt-get -qq -y -o DPkg::Lock::Timeout=120)
    for one in "$@"; do
        command -v "${one%%:*}" >/dev/null || wanted+=("${one##*:}")
    done
    ((${#wanted[@]})) || return 0
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "please install: ${wanted[*]}" >&2
        return 1
    fi
    echo "installing ${wanted[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    # The lists are fetched once: by the first process that needs one, for all that come after it.
    if [ -z "${APT_IS_FRESH:-}" ]; then
        timeout 180 "${apt[@]}" update >&2 || return 1
        export APT_IS_FRESH=1
    fi
    timeout 300 "${apt[@]}" install --no-install-recommends "${wanted[@]}" >"$work/apt.log" 2>&1 ||
        { tail -5 "$work/apt.log" >&2; return 1; }
}

# Installs the client libraries and programs of clients/ once, in a folder of their own, which is $clients. Fails where
# that can't be done.
clients() {
    clients=$work/clients
    [ ! -e "$clients/done" ] || return 0
    python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv:python3-venv || return 1
    python3 -m venv "$clients" && "$clients/bin/pip" -qq --disable-pip-version-check install \
        -r "$top/tests/system/clients/requirements.txt" >"$work/pip.log" 2>&1 && touch "$clients/done" ||
        { tail -1 "$work/pip.log" >&2; return 1; }
}

# The same for Node's, in $node_modules.
# shellcheck disable=SC2034 # used by groups
node_modules() {
    node_modules=$work/node/node_modules
    [ ! -e "$work/node/done" ] || return 0
    mkdir -p "$work/node" && cp "$top/tests/system/clients/package.json" "$work/node" &&
        npm install --prefix "$work/node" --no-audit --no-fund --no-package-lock >"$work/npm.log" 2>&1 &&
        touch "$work/node/done" || { tail -1 "$work/npm.log" >&2; return 1; }
}

# Builds both programs as they are shipped.
build_release() {
    [ -n "${WS_ROUTER:-}" ] || "$top/packaging/build" --programs
}

# Prints a TCP port of the loopback interface that is free now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts the daemon with the configuration on standard input, and waits until URL answers: start_router URL.
# Its process id is in $router, its log in $router_log.
start_router() {
    local url=$1 tries
    router_log=$(mktemp "$work/router.XXXXXX.log")
    cat >"$router_log.toml"
    printf '[admin]\nsocket = "%s"\n[log]\nformat = "text"\n' "$router_log.sock" >>"$router_log.toml"
    "$binary" --config "$router_log.toml" >"$router_log" 2>&1 &
    router=$!
    for ((tries = 0; tries < 200; tries++)); do
        curl -ksf --noproxy '*' -o /dev/null "$url/healthz" && return
        kill -0 "$router" 2>/dev/null || break
        sleep 0.05
    done
    echo "the daemon doesn't answer on $url:" >&2
    cat "$router_log" >&2
    return 1
}

# Stops the daemon, and fails if it doesn't end with status 0.
stop_router() {
    kill -TERM "$router" && wait "$router"
}

# Looks for lines as grep does, but reads to the end: one that stops early would break the pipe of who writes, and with
# pipefail that counts. (grep does so by itself when it writes to /dev/null.)
has() { grep "$@" | cat >/dev/null; }

# What a check came to; one line each.
pass() { result ok "$1"; }
fail() { result FAIL "$1" "${2:-}"; }
skip() { result skip "$1" "$2"; }
result() {
    printf '%-4s %s%s\n' "$1" "$2" "${3:+: $3}"
    echo "$1" >>"$results"
}

# Passes on the outcomes that a script prints: "ok", or "FAIL", the check's name and the reason, or "note" and a text, with
# tabs between.
# Names are preceded by a text: outcomes [TEXT]
outcomes() {
    local outcome name reason
    while IFS=$'\t' read -r outcome name reason; do
        case $outcome in
            ok) pass "${1:-}$name" ;;
            FAIL) fail "${1:-}$name" "$reason" ;;
            note) echo "     $name" ;;
            *) fail "${BASH_SOURCE[1]##*/}" "$outcome $name $reason" ;;
        esac
    done
}

# Runs a command as a check, and shows what it printed if it fails: check NAME COMMAND...
check() {
    local name=$1 log status
    shift
    log=$(mktemp "$work/check.XXXXXX")
    if "$@" >"$log" 2>&1; then
        pass "$name"
    else
        status=$?
        fail "$name" "status $status"
        sed 's/^/     /' "$log"
    fi
}
