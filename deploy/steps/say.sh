# shellcheck shell=sh disable=SC2034,SC2154  # sourced by install.sh, which sets what is used here
# How a step is said, and done unless this is a dry run.

say() {
    printf '%s\n' "$*"
}

refuse() {
    echo "install: $1" >&2
    exit 2
}

fail() {
    echo "install: $1" >&2
    exit 1
}

# run WHAT COMMAND…: says what is done, counts it, remembers it until all is started, and does it.
run() {
    what=$1
    shift
    changes=$((changes + 1))
    if [ -n "$dry" ]; then
        say "would: $what"
        return 0
    fi
    say "$what"
    remember
    "$@" || fail "$what: failed (status $?); mend that, then run this again"
}

# From the switch to a release on, what is being done: a run that was cut short is finished by the next.
remember() {
    if [ -e "$releases/${release:-none}/complete" ] && [ "$(cat "$unstarted" 2>/dev/null)" != "$verb $release" ]; then
        echo "$verb $release" >"$unstarted" && sync "$unstarted"
    fi
}

# put FILE MODE OWNER <TEXT: has a file hold this text, replaced in one moment. Nothing where it already does.
put() {
    text=$(cat && echo .) # the dot keeps the last line's end
    text=${text%.}
    if [ -f "$root$1" ] && [ "$(cat "$root$1" && echo .)" = "$text." ]; then
        return 0
    fi
    run "write $1" put_now "$@"
}

put_now() {
    mkdir -p "$(dirname "$1")" &&
        (umask 077 && printf '%s' "$text" >"$1.new") &&
        chown "$3" "$1.new" &&
        chmod "$2" "$1.new" &&
        sync "$1.new" &&
        mv -f "$1.new" "$1"
}

# Two installations at once would trip over each other.
one_at_a_time() {
    if [ -z "$dry" ]; then
        exec 9>/run/gander-install.lock
        flock -n 9 || fail "another installation is running"
    fi
}
