#!/bin/sh
# Puts Gander's firmware on a Raspberry Pi Pico or Pico 2 that runs MicroPython: `deploy/flash.sh [PORT]`.
# Checks firmware/settings.py first; without PORT there must be one Pico. Nothing fires: everything is off meanwhile.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-python3}
port=${1:-}
leave='0 LEAVE *4334' # firmware/main.py: everything off, and make room for us

refuse() {
    echo "flash: $1" >&2
    exit 2
}

fail() {
    echo "flash: $1" >&2
    exit 1
}

# What mpremote says when it fails is a traceback: its last line tells.
remote() {
    $mpremote connect "$port" "$@" 2>&1
}

case $port in
-*) refuse "usage: deploy/flash.sh [PORT], as deploy/flash.sh /dev/ttyACM0" ;;
esac

command -v "$python" >/dev/null || refuse "no $python; install Python 3, or say which: PYTHON=python3.12 deploy/flash.sh"
if command -v mpremote >/dev/null; then
    mpremote=mpremote
elif "$python" -c 'import mpremote' 2>/dev/null; then
    mpremote="$python -m mpremote"
else
    refuse "no mpremote; \`pipx install mpremote\`, or \`pip install mpremote\` in a virtual environment, then again"
fi
# -B: an installed tree may be read-only.
settings=$(cd "$here" && "$python" -B -m firmware.check 2>&1) || refuse "${settings:-the settings cannot be read}"

if [ -z "$port" ]; then
    ports=$($mpremote devs | awk 'tolower($3) ~ /^2e8a:/ { print $1 }')
    case $(echo "$ports" | grep -c .) in
    0)
        for disk in /dev/disk/by-label/RPI-RP2 /dev/disk/by-label/RP2350; do
            [ ! -e "$disk" ] || refuse "the Pico is in its boot loader; copy MicroPython's UF2 file to it, from micropython.org/download/RPI_PICO (Pico 2: RPI_PICO2), then again"
        done
        refuse "no Pico on USB; plug it in by a cable that carries data. A new one: hold BOOTSEL while plugging in, copy MicroPython's UF2 file to the disk that appears (micropython.org/download/RPI_PICO, Pico 2: RPI_PICO2), then again"
        ;;
    1) port=$ports ;;
    *) refuse "more than one Pico; say which: deploy/flash.sh PORT, one of $(echo "$ports" | tr '\n' ' ')" ;;
    esac
fi
[ -e "$port" ] || refuse "there is no $port; is the Pico plugged in?"
if ! [ -r "$port" ] || ! [ -w "$port" ]; then
    refuse "$port: permission denied; \`sudo usermod -aG dialout \$USER\`, log in again"
fi
if command -v flock >/dev/null && ! flock -n "$port" true; then
    refuse "$port is in use; stop gander (or the terminal) that has it, then again"
fi

# A firmware that runs is asked to leave: it ignores Ctrl-C, since noise may be one. To a bare MicroPython it is noise.
echo "asking what runs on $port to leave"
stty -F "$port" raw -echo 2>/dev/null || stty -f "$port" raw -echo 2>/dev/null || true
printf '\003\n%s\n' "$leave" >"$port" || fail "$port cannot be written; plug the Pico out and in, then again"
sleep 1 # it starts anew, and its port goes and comes back
tries=0
until [ -w "$port" ] && said=$(remote exec 'import sys; print(sys.platform, "%d.%d" % sys.implementation[1][:2])'); do
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || fail "MicroPython does not answer on $port; plug the Pico out and in, then again. Still not: put MicroPython on it anew (hold BOOTSEL while plugging in)"
    sleep 1
done
case $said in
"rp2 "*) ;;
*) refuse "$port is no Pico: it says '$said'" ;;
esac
version=$(echo "$said" | tr -d '\r' | awk 'END { split($2, part, "."); print part[1] * 100 + part[2] }')
[ "$version" -ge 122 ] || refuse "its MicroPython is $said; 1.22 or newer is needed (micropython.org/download)"

trap 'echo "flash: not finished: the Pico has no firmware now; run it again" >&2' EXIT
echo "copying the firmware"
remote exec 'import os
for name in ("main.py", "stay"):
    try: os.remove(name)
    except OSError: pass
try: os.mkdir("firmware")
except OSError: pass' || fail "$port went away"
for file in __init__ wire deterrent check settings pins; do
    remote cp "$here/firmware/$file.py" ":firmware/$file.py" >/dev/null || fail "firmware/$file.py cannot be copied"
done
remote cp "$here/firmware/main.py" :main.py >/dev/null || fail "main.py cannot be copied" # last: a half firmware never runs
there=$(remote exec 'from firmware import VERSION, check, settings
check.limits(settings.CHANNELS); check.wiring(settings)
print(VERSION)' | tr -d '\r') || fail "what was copied does not run: $there"
ours=$(cd "$here" && "$python" -B -c 'from firmware import VERSION; print(VERSION)')
[ "$there" = "$ours" ] || fail "what was copied does not run: $there"
remote reset >/dev/null || fail "$port does not start anew; plug the Pico out and in"
trap - EXIT
cat <<END
firmware $ours is on the Pico. Its LED now flashes once in two seconds: it waits for Gander.
Next: close its arm switch (firmware/README.md), set [controller] kind = "serial" in gander.toml, start Gander again
(\`sudo systemctl start gander.target\`), then \`gander doctor\`.
END
