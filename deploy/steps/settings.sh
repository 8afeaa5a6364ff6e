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
    # The units shut these off from publish, which they can only where they are.
    folder $state/pictures 2770 gander-watch:gander
    folder $state/models 2770 gander-watch:gander
    # Whose models are accepted: publish is of the group, and has no say in it.
    folder $state/keys 2750 gander-watch:gander
    if [ ! -e "$root$etc/gander.toml" ]; then
        camera=${camera:-$(camera_source)}
        put $etc/gander.toml 640 root:gander <<END
$(configuration)
END
        say "the configuration is $etc/gander.toml: camera $camera, mode observe, only the light, moved dry"
    fi
    put $command 755 root:root <"$here/deploy/gander"
}

# folder PATH MODE OWNER:GROUP: also one that is there otherwise, as after a power cut.
folder() {
    [ "$(stat -Lc '%a %U:%G' "$root$1" 2>/dev/null)" = "$2 $3" ] ||
        run "make the folder $1" install -d -m "$2" -o "${3%:*}" -g "${3#*:}" "$1"
}

configuration() {
    cat <<END
# Gander's configuration: what differs from the defaults. \`gander config --example\` prints every setting,
# \`gander check\` checks this file, \`sudo systemctl restart gander.target\` makes it hold.
[[camera]]
source = "$camera"

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

# The Pi's own camera, else the rendered yard, with which everything can be tried.
camera_source() {
    if [ -z "$root" ] && installed python3-picamera2 && timeout 60 /usr/bin/python3 -c \
        'from picamera2 import Picamera2; raise SystemExit(not Picamera2.global_camera_info())' >/dev/null 2>&1; then
        echo picamera
    else
        echo synthetic:day
    fi
}

# What this device signs imported models with. Nobody but watch may read it: publish talks to the world.
device_key() {
    if [ ! -e "$root$state/device.key" ] || [ ! -e "$root$state/device.key.pub" ]; then
        run "make the device key" as_watch "$opt/current/bin/python" -c "
from pathlib import Path
from edge.keys import load_or_generate
load_or_generate(Path('$state/device.key'), 'device')"
    fi
}

# With the one right that the unit's secrets need, and as in the unit with no home: publish may write to the state.
as_watch() {
    right=dac_read_search
    (umask 007 && exec setpriv --reuid gander-watch --regid gander --init-groups --reset-env --inh-caps=-all,+$right \
        --ambient-caps=-all,+$right --bounding-set=-all,+$right env HOME=/nonexistent PYTHONNOUSERSITE=1 "$@")
}
