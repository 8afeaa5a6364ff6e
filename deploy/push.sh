#!/bin/sh
# From a laptop to an appliance, by ssh. Nothing but what is committed is sent.
#
#   deploy/push.sh HOST [--wheels DIR]             this checkout's code: built there, installed, started
#   deploy/push.sh HOST BUNDLE… [--trust] [--promote]   models, by gander-train push
#
# HOST is as ssh knows it: pi@coop. --wheels DIR: Python packages, a folder over there. SSH names another ssh, with options.
# Exit status: 0 done, 1 failed, 2 refused.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
ssh=${SSH:-ssh}

refuse() {
    echo "push: $1" >&2
    exit 2
}

# tty: for sudo's password, where a person is there.
there() {
    tty=-T
    [ ! -t 0 ] || tty=-t
    # shellcheck disable=SC2086  # ssh and its options are words
    $ssh "$tty" -- "$host" "$1"
}

host=${1:-}
case $host in
'' | -*) refuse "usage: deploy/push.sh HOST [--wheels DIR], or deploy/push.sh HOST BUNDLE… [--trust] [--promote]" ;;
esac
shift

case "$*" in
*.gander*)
    train=gander-train
    [ ! -x "$here/.venv/bin/gander-train" ] || train=$here/.venv/bin/gander-train
    command -v "$train" >/dev/null || refuse "no gander-train here; \`make setup-training\`"
    options=''
    for word in "$@"; do
        case $word in
        -*) options="$options $word" ;;
        esac
    done
    for word in "$@"; do
        # shellcheck disable=SC2086  # options are words
        case $word in
        -*) ;;
        *) "$train" push "$word" "$host" $options ;;
        esac
    done
    exit
    ;;
esac

wheels=
if [ "${1:-}" = --wheels ]; then
    case ${2:-} in
    /*) wheels=$2 ;;
    *) refuse "--wheels: a folder on $host, from / on" ;;
    esac
    case $wheels in
    *[!A-Za-z0-9/._-]*) refuse "--wheels $wheels: only letters, digits and ._- in its name" ;;
    esac
    shift 2
fi
[ $# = 0 ] || refuse "$1: what is that? See the head of deploy/push.sh"
git -C "$here" rev-parse --verify --quiet HEAD >/dev/null || refuse "$here is no checkout of git; clone it, or install over there"
[ -z "$(git -C "$here" status --porcelain)" ] || echo "push: what is not committed stays here" >&2

# shellcheck disable=SC2086,SC2016  # ssh and its options are words; the script is for the shell there
folder=$(git -C "$here" archive HEAD | $ssh -T -- "$host" 'd=$(mktemp -d /var/tmp/gander.XXXXXXXXXX) && tar -xf - -C "$d" && echo "$d"')
case $folder in
/var/tmp/gander.??????????) ;;
*) refuse "$host did not take it: $folder" ;;
esac
# Root may have no sudo.
there "\$(command -v sudo) sh $folder/deploy/install.sh ${wheels:+--wheels $wheels}; status=\$?; rm -rf $folder; exit \$status"
