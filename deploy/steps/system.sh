# shellcheck shell=sh disable=SC2034,SC2154  # sourced by install.sh, which sets what is used here
# What the system brings: which one it is, its packages, the users, the boot settings.

boot=/boot/firmware/config.txt
users="gander-watch gander-publish gander-reboot"

# The value of a key in os-release.
release_says() {
    sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$root/etc/os-release" 2>/dev/null
}

system_is_known() {
    name=$(release_says PRETTY_NAME)
    arch=$(dpkg --print-architecture 2>/dev/null || uname -m)
    [ -z "$root" ] || arch=${GANDER_ARCH:-$arch}
    case $(release_says ID) in
    raspbian) refuse "this is a 32-bit Raspberry Pi OS; install the 64-bit one: no model can run here" ;;
    debian) ;;
    *) refuse "${name:-this system} is not known; Raspberry Pi OS (64-bit) or Debian, Bookworm or Trixie, is needed" ;;
    esac
    case $(release_says VERSION_ID) in
    12 | 13) ;;
    *) refuse "${name:-this Debian} was not tried; Bookworm (12) or Trixie (13) is needed" ;;
    esac
    case $arch in
    arm64 | amd64) ;;
    *) refuse "$arch: a 64-bit system (arm64, amd64) is needed; no model can run here" ;;
    esac
}

raspberry_pi_os() {
    [ -e "$root/etc/rpi-issue" ]
}

raspberry_pi() {
    raspberry_pi_os || grep -qs "Raspberry Pi" "$root/proc/device-tree/model"
}

installed() {
    [ -z "$root" ] && dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'
}

packages() {
    wanted="python3 python3-venv"
    # From apt: picamera2 is nowhere else (nor in Debian), and PyPI's lgpio is an empty one for Python 3.13.
    ! raspberry_pi_os || wanted="$wanted python3-picamera2"
    ! raspberry_pi || wanted="$wanted python3-lgpio"
    missing=
    for package in $wanted; do
        installed "$package" || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        run "install Debian packages:$missing" apt_install
    fi
}

apt_install() {
    patiently apt-get update --quiet=2 || return 1
    # Without what is only recommended: picamera2 would bring a desktop's windows.
    # shellcheck disable=SC2086  # a list of packages is meant to split
    patiently apt-get install --quiet=2 --yes --no-install-recommends $missing
}

# patiently APT…: what keeps itself up to date may be at it just now. apt itself waits for dpkg's lock only, not for
# those of its lists and archives.
patiently() {
    tries=0
    until told=$(DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" 2>&1 >&3); do
        case $tries:$told in
        24:*) break ;;
        0:*"Could not get lock "*) say "another program is at the packages; waiting for it, two minutes at most" ;;
        *"Could not get lock "*) ;;
        *) tries=24 && break ;;
        esac
        tries=$((tries + 1))
        sleep 5
    done 3>&1
    [ -z "$told" ] || say "$told" >&2
    [ "$tries" -lt 24 ]
}

people() {
    has group gander || run "make group gander" groupadd --system gander
    for user in $users; do
        has passwd "$user" || run "make user $user" useradd --system --gid gander --home-dir /nonexistent \
            --no-create-home --shell /usr/sbin/nologin "$user"
    done
    for group in video gpio dialout; do
        if has group "$group"; then
            member gander-watch "$group" || run "let gander-watch use what is for the group $group" \
                usermod --append --groups "$group" gander-watch
        fi
    done
    owner=${SUDO_USER:-root}
    if [ "$owner" != root ] && has passwd "$owner"; then
        member "$owner" gander || run "let $owner give commands (group gander, at the next login)" \
            usermod --append --groups gander "$owner"
    fi
}

has() {
    grep -q "^$2:" "$root/etc/$1" 2>/dev/null
}

member() {
    [ -z "$root" ] && id -nG "$1" 2>/dev/null | tr ' ' '\n' | grep -qx "$2"
}

# Raspberry Pi's kernel would keep a killed program's outputs driven.
boot_settings() {
    [ -f "$root$boot" ] || return 0
    if ! grep -Eq '^[[:space:]]*dtparam[[:space:]]*=[[:space:]]*([^[:space:]]+,)?strict_gpiod' "$root$boot"; then
        run "add dtparam=strict_gpiod to $boot (the old one is $boot.before-gander)" strict_gpiod
        must_reboot=yes
    fi
}

strict_gpiod() {
    [ -e "$boot.before-gander" ] || cp "$boot" "$boot.before-gander" || return 1
    # [all]: the file may end in a section for one model.
    { cat "$boot" && printf '\n[all]\n# Gander: a program that ends lets go of its pins.\ndtparam=strict_gpiod\n'; } \
        >"$boot.new" && sync && mv -f "$boot.new" "$boot" && sync
}
