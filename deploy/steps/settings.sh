# shellcheck shell=sh disable=SC2034,SC2154  # sourced by install.sh, which sets what is used here
# What is the owner's: configuration, secrets' folder, state directory, device key, and the command `gander`.

etc=/etc/gander
state=/var/lib/gander
command=/usr/local/bin/gander

settings() {
    folder $etc 750 root:gander
    # Only root reads them; systemd hands each unit its own.
    folder $etc/secrets 700 root:root
    folder $etc/secrets/watch 700 root:root
    folder $etc/secrets/publish 700 root:root
    # setgid: what any of us makes there belongs to the group.
    folder $state 2770 gander-watch:gander
    if [ ! -e "$root$etc/gander.toml" ]; then
        put $etc/gander.toml 640 root:gander <<END
$(configuration)
END
        say "the configuration is $etc/gander.toml: camera $(camera_source), mode observe, only the light, moved dry"
    fi
    put $command 755 root:root <"$here/deploy/gander"
}

folder() {
    [ -d "$root$1" ] || run "make the folder $1" make_folder "$@"
}

make_folder() {
    install -d "$1" && chown "$3" "$1" && chmod "$2" "$1" # chown clears setgid
}

configuration() {
    cat <<END
# Gander's configuration: what differs from the defaults. \`gander config --example\` prints every setting,
# \`gander check\` checks this file, \`sudo systemctl restart gander.target\` makes it hold.
[node]
state = "$state"

[[camera]]
source = "$(camera_source)"

[policy]
initial_mode = "observe"

[[deterrent]]
id = "light"
kind = "light"
pin = 17

# dry: nothing moves. When the light is wired: kind = "guard" for this Pi's own pins, "serial" for a Pico.
[controller]
kind = "dry"
END
}

# As told, else the Pi's own camera, else the rendered yard, with which everything can be tried.
camera_source() {
    if [ -n "$camera" ]; then
        echo "$camera"
    elif [ -z "$root" ] && installed python3-picamera2 && timeout 60 /usr/bin/python3 -c \
        'from picamera2 import Picamera2; raise SystemExit(not Picamera2.global_camera_info())' >/dev/null 2>&1; then
        echo picamera
    else
        echo synthetic:day
    fi
}

# What this device signs imported models with. Nobody but watch may read it: publish talks to the world.
device_key() {
    if [ ! -e "$root$state/device.key" ]; then
        run "make the device key" as_watch "$opt/current/bin/python" -c "
from pathlib import Path
from edge.keys import load_or_generate
load_or_generate(Path('$state/device.key'), 'device')"
    fi
}

as_watch() {
    setpriv --reuid gander-watch --regid gander --init-groups --reset-env "$@"
}
