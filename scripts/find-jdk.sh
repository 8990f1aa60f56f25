# Finds a JDK that is new enough, without starting one. Sourced by ./baton, scripts/test and .ci/run.
# Works with bash 3.2 (macOS) and later.

BATON_MIN_JAVA=25

# jdk_version HOME: the feature version that HOME/release tells (25 for "25.0.3"); empty if HOME is no JDK.
jdk_version() {
    local line version
    [ -x "$1/bin/java" ] && [ -x "$1/bin/javac" ] && [ -r "$1/release" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        JAVA_VERSION=*)
            version=${line#JAVA_VERSION=}
            version=${version//[\"$'\r']/}
            version=${version#1.}
            printf '%s' "${version%%[!0-9]*}"
            return 0
            ;;
        esac
    done <"$1/release"
}

# resolve_link PATH: PATH with symbolic links followed (readlink -f is not everywhere).
resolve_link() {
    local path=$1 target
    while [ -L "$path" ]; do
        target=$(readlink "$path")
        case $target in
        /*) path=$target ;;
        *) path=$(dirname "$path")/$target ;;
        esac
    done
    printf '%s' "$path"
}

# newest_jdk HOME...: of several JDKs the newest that is new enough; empty if there is none.
newest_jdk() {
    local home version best="" best_version=$((BATON_MIN_JAVA - 1))
    for home in "$@"; do
        version=$(jdk_version "$home")
        if [ -n "$version" ] && [ "$version" -gt "$best_version" ]; then
            best=$home
            best_version=$version
        fi
    done
    printf '%s' "$best"
}

# find_jdk: prints the JDK's home. Earlier places win; within one place the newest does. Fails with one sentence.
find_jdk() {
    local found="" java_on_path=""
    [ -n "${BATON_JAVA_HOME:-}" ] && found=$(newest_jdk "$BATON_JAVA_HOME")
    [ -z "$found" ] && [ -n "${JAVA_HOME:-}" ] && found=$(newest_jdk "$JAVA_HOME")
    if [ -z "$found" ]; then
        java_on_path=$(command -v java || true)
        if [ -n "$java_on_path" ]; then
            java_on_path=$(resolve_link "$java_on_path")
            found=$(newest_jdk "$(cd "$(dirname "$java_on_path")/.." 2>/dev/null && pwd -P)")
        fi
    fi
    [ -z "$found" ] && found=$(newest_jdk /usr/lib/jvm/*)
    [ -z "$found" ] && found=$(newest_jdk /opt/*)
    [ -z "$found" ] && found=$(newest_jdk "${HOME:-/nonexistent}"/.sdkman/candidates/java/*)
    [ -z "$found" ] && found=$(newest_jdk "${HOME:-/nonexistent}"/.jdks/*)
    [ -z "$found" ] && found=$(newest_jdk /Library/Java/JavaVirtualMachines/*/Contents/Home)
    if [ -z "$found" ]; then
        echo "baton: no JDK $BATON_MIN_JAVA or newer found; install one (for example Temurin $BATON_MIN_JAVA from https://adoptium.net) or point BATON_JAVA_HOME at it." >&2
        return 1
    fi
    printf '%s\n' "$found"
}

# need_maven: fails with one sentence unless Maven 3.8 or newer is on the PATH.
need_maven() {
    local version major minor
    if command -v mvn >/dev/null 2>&1; then
        version=$(mvn -v 2>/dev/null | sed -n 's/.*Apache Maven \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
        major=${version%%.*}
        minor=${version#*.}
        if [ -n "$version" ] && { [ "$major" -gt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -ge 8 ]; }; }; then
            return 0
        fi
    fi
    echo "baton: building needs Maven 3.8 or newer on the PATH (found: ${version:-none}); install it, for example with your package manager (package maven)." >&2
    return 1
}
