#!/bin/sh
# Has an appliance go back, by ssh; run again it goes forth.
#
#   deploy/rollback.sh HOST           to the code before: the release, its units, started
#   deploy/rollback.sh HOST --model   to the model before, while it runs
#
# HOST is as ssh knows it: pi@coop. SSH names another ssh, with options.
# Exit status: 0 done, 1 failed, 2 refused.
set -eu

ssh=${SSH:-ssh}
host=${1:-}
# shellcheck disable=SC2016  # root over there may have no sudo
case $host:${2:-} in
:* | -*) echo "rollback: usage: deploy/rollback.sh HOST [--model]" >&2 && exit 2 ;;
*:) command='$(command -v sudo) sh /opt/gander/current/share/deploy/install.sh --back' ;;
*:--model) command='gander bundle rollback' ;;
*) echo "rollback: $2: what is that? --model, or nothing" >&2 && exit 2 ;;
esac
tty=-T
[ ! -t 0 ] || tty=-t # for sudo's password, where a person is there
# shellcheck disable=SC2086  # ssh and its options are words
exec $ssh "$tty" -- "$host" "$command"
