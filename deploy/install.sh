#!/bin/sh
# Installs Gander on a Raspberry Pi OS (64-bit) or Debian, Bookworm or Trixie; run again from a newer checkout it upgrades.
#
#   sudo sh deploy/install.sh [--camera SOURCE] [--wheels DIR] [--no-start] [--dry-run]
#   sudo sh deploy/install.sh --back          the release before this one, with its units
#   sudo sh deploy/install.sh --uninstall     removes the program; keeps pictures, journal, models, configuration
#   sudo sh deploy/install.sh --purge         asks, then removes those too
#
# --camera SOURCE   at the first run: what to watch (picamera, /dev/video0, rtsp://…); else the Pi's own camera, else a
#                   rendered yard
# --wheels DIR      takes the Python packages from this folder; Debian's packages, if missing, still come by apt
# --no-start        installs, and starts nothing
# --dry-run         prints every step, and changes nothing
#
# Exit status: 0 done, 1 failed, 2 refused.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
root=${GANDER_ROOT:-} # a tree to look at instead of this machine's, in a dry run
dry='' start=yes wheels='' camera='' verb=install
changes=0 must_reboot=''

# shellcheck source=deploy/steps/say.sh
. "$here/deploy/steps/say.sh"
# shellcheck source=deploy/steps/system.sh
. "$here/deploy/steps/system.sh"
# shellcheck source=deploy/steps/release.sh
. "$here/deploy/steps/release.sh"
# shellcheck source=deploy/steps/settings.sh
. "$here/deploy/steps/settings.sh"
# shellcheck source=deploy/steps/units.sh
. "$here/deploy/steps/units.sh"
# shellcheck source=deploy/steps/remove.sh
. "$here/deploy/steps/remove.sh"

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --camera | --wheels) [ $# -gt 1 ] || refuse "$1: what? See --help" ;;
        esac
        case $1 in
        --camera) camera=$2 && shift ;;
        --wheels) wheels=$2 && shift ;;
        --no-start) start='' ;;
        --dry-run) dry=yes ;;
        --back | --uninstall | --purge) verb=${1#--} ;;
        -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" | sed '/^set /d' && exit 0 ;;
        *) refuse "$1: no such option; see --help" ;;
        esac
        shift
    done
    case $camera in
    *[\"\\]* | *[[:cntrl:]]*) refuse "--camera: no quotes and no backslashes" ;;
    *://*:*@*) refuse "--camera: no password here; put it in a file, and name that as credentials in gander.toml" ;;
    esac
    if [ -n "$camera" ] && [ -e "$root$etc/gander.toml" ]; then
        refuse "--camera is for the first run; $etc/gander.toml is there already: set source in it"
    fi
    if [ -n "$wheels" ]; then
        wheels=$(CDPATH='' cd -- "$wheels" 2>/dev/null && pwd) || refuse "--wheels: no such folder"
    fi
}

install_all() {
    system_is_known
    packages
    people
    release=$(release_name)
    make_release
    switch_to "$release"
    settings
    install_units
    keep_three
    device_key
    boot_settings
    [ -n "$dry" ] || sync # what is said to be done outlasts a power cut
    start_units
    if [ "$changes" = 0 ]; then
        say "nothing to change: $release is installed"
    fi
    last_words
}

options "$@"
cd / # what lies in the caller's folder is no part of any program that is run here
[ -z "$root" ] || [ -n "$dry" ] || refuse "GANDER_ROOT is for --dry-run"
[ -n "$dry" ] || [ "$(id -u)" = 0 ] || refuse "run it as root: sudo sh deploy/install.sh"
one_at_a_time
case $verb in
install) install_all ;;
back) go_back ;;
uninstall) uninstall ;;
purge) purge ;;
esac
