# shellcheck shell=bash
# What the groups have in common that need the packages, or a Debian with systemd to install them in. Sourced after
# lib.sh, not run.
# shellcheck disable=SC2154 # lib.sh sets top, work and results
# shellcheck disable=SC2015 # what stands after the last && may fail as well
# shellcheck disable=SC2153 # bash sets TALK and TALK_PID

# Builds the packages, once for all groups of a run: packages [VERSION]. They are in $packages, or $packages-VERSION.
packages=$work/ws-router-packages
build_packages() {
    local folder=$packages${1:+-$1}
    # Nobody else's, and of this source: kept only within a run, which has a folder of its own.
    if [ "$results" != /dev/null ]; then [ ! -d "$folder" ] || return 0; else rm -rf "$folder"; fi
    need dpkg-shlibdeps:dpkg-dev objcopy:binutils rpmbuild:rpm python3:python3 || return 1
    OUT=$folder.new "$top/packaging/build" ${1:+--version "$1"} && mv "$folder.new" "$folder"
}

# The version that is built, and the file of a .deb: deb [VERSION]
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | head -1)
deb() { echo "$packages${1:+-$1}/ws-router_${1:-$version}_$(dpkg --print-architecture).deb"; }

# Boots a Debian for the group, to be ended with it, or skips the group: boot NAME
boot() {
    export WITH_SYSTEMD_NAME=$1
    if [ "$(id -u)" != 0 ]; then
        skip "$1" "a container needs root"
        exit 0
    fi
    trap 'talk_ends; container down' EXIT
    trap 'exit 130' INT TERM HUP
    container down 2>/dev/null
    container up || { fail "$1" "no container boots here"; exit 0; }
}
container() { "$top/tests/system/with-systemd" "$@"; }
# Runs a command in the container, or a line of shell.
inside() { container exec "$@"; }
shell() { container exec sh -c "$1"; }

# Installs the .deb as an administrator would: install_deb [VERSION]
install_deb() {
    local file
    file=$(deb "${1:-}")
    container copy "$file" /root/ && inside dpkg -i "/root/${file##*/}"
}

# Waits until a command succeeds, 20 s at most: await COMMAND...
await() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "not in time: $*" >&2
    return 1
}

# A check of the service, which shows the journal's end if it fails: check_service NAME COMMAND...
check_service() {
    local failed
    failed=$(grep -cx FAIL "$results")
    check "$@"
    [ "$(grep -cx FAIL "$results")" = "$failed" ] || inside journalctl -q -n 25 -o short-precise --no-hostname | sed 's/^/     /'
}

# A property of a unit: property NAME [UNIT]
property() { inside systemctl show --value -p "$1" "${2:-ws-router.service}"; }
# Whether a property is so: is NAME VALUE [UNIT]
is() {
    local value
    value=$(property "$1" "${3:-ws-router.service}")
    [ "$value" = "$2" ] || { echo "$1 is '$value', not '$2'"; return 1; }
}

# A whole exchange between devices, from within the container's network: talks [OPTION...] URL
talks() { container net "$top/tests/system/talk.py" "$@"; }

# Members that stay: talk_begins [OPTION...] URL; talk_says say|bytes; talk_ended prints their close codes.
talk_begins() {
    local line
    talk_ends
    coproc TALK { exec "$top/tests/system/with-systemd" net "$top/tests/system/talk.py" --hold "$@"; }
    # Bash forgets the pipes at once when the program ends, with what is still in them.
    talk_pid=$TALK_PID
    exec {talk_out}<&"${TALK[0]}" {talk_in}>&"${TALK[1]}"
    while read -r -t 20 line <&"$talk_out"; do [ "$line" != ready ] || return 0; done
    echo "the members did not come together" >&2
    return 1
}
talk_says() {
    local line
    # In a shell of its own, which is all that ends if nobody is there to read it.
    (echo "$1" >&"$talk_in") 2>/dev/null
    read -r -t 20 line <&"$talk_out" && [ "$line" = ok ] || { echo "${line:-nothing is heard}"; return 1; }
}
talk_ended() {
    local line
    read -r -t 20 line <&"$talk_out" && echo "$line"
}
talk_ends() {
    [ -n "${talk_pid:-}" ] || return 0
    { kill "$talk_pid" && wait "$talk_pid"; } 2>/dev/null
    exec {talk_out}<&- {talk_in}>&-
    talk_pid=
}

# Writes the configuration in the container from standard input.
configure() {
    cat >"$work/ws-router.toml"
    container copy "$work/ws-router.toml" /etc/ws-router/ws-router.toml
}
# Installs an example of the package at the place that its first line names, or at another: example NAME [PLACE]
example() {
    local file=/usr/share/doc/ws-router/examples/$1 place=${2:-}
    [ -n "$place" ] || place=$(sed -n '1,2s/^# \(\/[^ ,]*\).*/\1/p' "$top/packaging/examples/$1" | head -1)
    shell "mkdir -p '${place%/*}' && cp '$file' '$place'"
}
