# shellcheck shell=bash
# What a machine must have before we can build, test or start Kafka: finding out, and installing on a
# Debian-like one. Sourced by `run`, `test` and `tools/kafka`; knows nothing of what they do with it.
#
# First say what you want (`want …`), then either `install_missing` or `refuse_missing`.

readonly JAVA_VERSION_MIN=17
# Which of them there is depends on the release of the distribution; any will do.
readonly JAVA_PACKAGES=(openjdk-17-jre-headless openjdk-21-jre-headless openjdk-25-jre-headless)

# Rust's installer puts cargo here, but a shell that was opened before does not look there.
PATH="$PATH:${HOME:-/root}/.cargo/bin"

missing=()
missing_packages=()

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null; }

need_cargo() { has cargo || die 'needs Rust, which is not installed: see https://rustup.rs'; }

want() { # COMMAND DEBIAN_PACKAGE
    has "$1" || lack "$1" "$2"
}

lack() { # WHAT DEBIAN_PACKAGE
    missing+=("$1")
    missing_packages+=("$2")
}

# librdkafka and zstd are compiled from source; OpenSSL is the system's, which its distributor keeps safe.
want_compiler() {
    want cc gcc
    want c++ g++
    want make make
    want pkg-config pkg-config
    { has pkg-config && pkg-config --exists openssl; } || lack "OpenSSL's headers" libssl-dev
}

# The page is tested in a real browser, which is driven by a program of node's.
want_browser() {
    want node nodejs
    want npm npm
    has chromium || has chromium-browser || has google-chrome || lack Chromium chromium
}

# Faults of networks and clocks; without these the tests say loudly what they leave out.
want_faults() {
    want ip iproute2
    want faketime faketime
}

# What deploy/ is checked with: by tools of others, each for its own files.
want_deploy() {
    want promtool prometheus
    want jq jq
    want kubectl kubernetes-client
    has docker-compose || { has docker && docker compose version >/dev/null 2>&1; } || lack 'docker compose' docker-compose
    python3 -c 'import ensurepip, venv' 2>/dev/null || lack "Python's venv" python3-venv
}

want_java() { (($(java_version) >= JAVA_VERSION_MIN)) || lack "Java $JAVA_VERSION_MIN or newer" "$(java_package)"; }

java_command() { printf '%s' "${JAVA_HOME:+$JAVA_HOME/bin/}java"; }

# Its major version; 0 if there is none, or one that we do not understand.
java_version() {
    local version=''
    if has "$(java_command)"; then
        version="$("$(java_command)" -version 2>&1 | sed -n 's/.*version "\([0-9]\{1,\}\).*/\1/p')"
    fi
    printf '%s' "${version:-0}"
}

java_package() {
    local package
    for package in "${JAVA_PACKAGES[@]}"; do
        if has apt-cache && apt-cache show "$package" >/dev/null 2>&1; then
            printf '%s' "$package"
            return
        fi
    done
    printf '%s' "${JAVA_PACKAGES[0]}"
}

missing_list() {
    local list
    list="$(printf '%s, ' "${missing[@]}")"
    printf '%s' "${list%, }"
}

# Says what is missing and how to get it.
refuse_missing() {
    ((${#missing[@]} == 0)) ||
        die "needs $(missing_list), missing here (Debian, Ubuntu: apt-get install ${missing_packages[*]})"
}

# Installs what is missing if we are allowed to, else says what it is.
install_missing() {
    ((${#missing[@]} > 0)) || return 0
    local as_root=()
    if ! has apt-get || ! may_become_root; then
        refuse_missing
    fi
    ((EUID == 0)) || as_root=(sudo)
    printf '%s: installing %s\n' "${0##*/}" "$(missing_list)" >&2
    apt_get update || printf 'the package lists could not be refreshed; trying with the old ones\n' >&2
    apt_get install "${missing_packages[@]}" || refuse_missing
    missing=()
    missing_packages=()
}

# Root, or sudo that needs no password, or somebody at a terminal who can type it.
may_become_root() { ((EUID == 0)) || { has sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }; }

# Knows `as_root` from its caller.
apt_get() {
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get --yes --quiet --no-install-recommends "$@" >&2
}
