# shellcheck shell=sh disable=SC2034,SC2154  # sourced by install.sh, which sets what is used here
# Removes the program; what is the owner's only when asked for by name, and answered.

uninstall() {
    run "stop everything" stop_all
    remove_units
    for file in $command $opt /etc/systemd/journald.conf.d/50-gander.conf /etc/systemd/system.conf.d/50-gander.conf; do
        [ ! -e "$root$file" ] || run "remove $file" rm -rf "$file"
    done
    reload
    if [ "$verb" = uninstall ]; then
        say "kept: $state (journal, pictures, models, keys), $etc (configuration, secrets), the users; --purge removes them"
        [ ! -e "$root$boot.before-gander" ] || say "kept: dtparam=strict_gpiod in $boot"
    fi
}

stop_all() {
    if running_systemd; then
        systemctl stop 'gander*' # also gander-watch@NAME
    fi
}

purge() {
    set --
    for folder in "$root$state" "$root$state"-watch-* "$root$state"-reboot "$root$state".before-* \
        "$root/var/log/gander" "$root$etc"; do
        [ ! -d "$folder" ] || set -- "$@" "${folder#"$root"}"
    done
    say "This deletes the journal, pictures, labels, models, keys, settings and secrets, all that is in $*"
    if [ -z "$dry" ]; then
        printf 'Type yes: '
        read -r answer || answer=
        [ "$answer" = yes ] || refuse "nothing was removed"
    fi
    uninstall
    for folder in "$@"; do
        run "remove $folder" rm -rf "$folder"
    done
    for user in $users; do
        ! has passwd "$user" || run "remove user $user" userdel "$user"
    done
    ! has group gander || run "remove group gander" groupdel gander
}
