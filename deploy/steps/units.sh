# shellcheck shell=sh disable=SC2034,SC2154  # sourced by install.sh, which sets what is used here
# systemd's side: units in place, enabled, started; and what is said at the end.

units=/etc/systemd/system

# The units of the current release: in a dry run those of this checkout.
unit_source() {
    if [ -d "$opt/releases/$release/share/systemd" ] && [ -z "$root" ]; then
        echo "$opt/releases/$release/share/systemd"
    else
        echo "$here/systemd"
    fi
}

# Where a file of systemd/ belongs; empty: nowhere.
place() {
    case $1 in
    *.service | *.target | *.timer | *.path | *.socket | *.slice) echo "$units/$1" ;;
    journald.conf) echo "/etc/systemd/journald.conf.d/50-gander.conf" ;;
    system.conf) echo "/etc/systemd/system.conf.d/50-gander.conf" ;;
    esac
}

install_units() {
    source=$(unit_source)
    for file in "$source"/*; do
        target=$(place "$(basename "$file")")
        [ -z "$target" ] || put "$target" 644 root:root <"$file"
    done
    remove_units "$source"
    enable_units
}

# remove_units [BUT]: those that a release has, but what is in the folder BUT; the owner's own stay.
remove_units() {
    gone=
    for file in "$root$units"/gander*.*; do
        name=$(basename "$file")
        if [ -f "$file" ] && [ ! -e "${1:-/nowhere}/$name" ] && ours "$name"; then
            gone="$gone $name"
        fi
    done
    [ -z "$gone" ] || run "remove the units$gone" drop_units
}

ours() {
    for folder in "$root$releases"/*/share/systemd "$here/systemd"; do
        [ ! -e "$folder/$1" ] || return 0
    done
    return 1
}

drop_units() {
    # shellcheck disable=SC2086  # a list of names is meant to split
    { ! running_systemd || systemctl stop $gone 2>/dev/null || true; } && systemctl --quiet disable $gone &&
        (cd "$units" && rm -f $gone)
}

enable_units() {
    for file in "$source"/*; do
        name=$(basename "$file")
        case $name in
        *@.* | *.conf) continue ;;
        esac
        if grep -q '^\[Install\]' "$file" && ! enabled "$name"; then
            run "enable $name" systemctl --quiet enable "$name"
        fi
    done
}

enabled() {
    [ -z "$root" ] && systemctl --quiet is-enabled "$1" 2>/dev/null
}

running_systemd() {
    [ -d /run/systemd/system ]
}

start_units() {
    [ "$changes" != 0 ] || return 0
    reload
    if [ -n "$start" ] && { [ -n "$dry" ] || running_systemd; }; then
        run "start gander.target" start_all
        [ -n "$dry" ] || await
        return
    fi
    [ -n "$dry" ] || : >"$unstarted" # the switch is done, the start is owed
    say "nothing is started; \`sudo systemctl restart gander.target\` or a reboot does"
}

# What failed before is forgotten: too many starts in a short time would else be refused.
start_all() {
    systemctl reset-failed 'gander*' 2>/dev/null || true
    systemctl --no-block restart gander.target && rm -f "$unstarted"
}

reload() {
    if [ -n "$dry" ] || running_systemd; then
        run "have systemd read the units anew" reload_now
    fi
}

# Limits of the log and the hardware watchdog hold at once, too.
reload_now() {
    systemctl daemon-reexec && systemctl try-restart systemd-journald.service
}

# Until the first picture is there, or a minute and a half is over: a camera may be missing, which doctor says.
await() {
    tries=0
    until [ "$(systemctl is-active gander-watch.service)" = active ] || [ "$tries" -ge 90 ]; do
        tries=$((tries + 1))
        sleep 1
    done
    if [ "$tries" -ge 90 ]; then
        say "gander-watch has not begun to see yet; \`journalctl -u gander-watch\` says why"
    fi
}

last_words() {
    if [ -z "$dry" ] && [ -n "$start" ]; then
        say ""
        $command doctor || true # what is to mend is said, and is no failure of the installation
    fi
    cat <<'END'

Next:
  1. Look: `gander status` and `gander events --follow`; the camera and the rest are in /etc/gander/gander.toml.
  2. Give it a model that knows your visitors: `gander bundle fetch inat-birds` (birds) or `imagenet` (foxes, cats), then
     `gander bundle promote inat-birds`; or train your own (README, "Retrain").
  3. Wire the light (README, "Wiring and safety"), set controller.kind, and when `gander visits` looks right: `gander arm`.
END
    if [ -n "$must_reboot" ]; then
        say "And reboot once (\`sudo reboot\`): until then a killed program's pins stay driven."
    fi
}
