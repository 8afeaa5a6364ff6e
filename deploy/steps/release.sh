# shellcheck shell=sh disable=SC2034,SC2154  # sourced by install.sh, which sets what is used here
# A release: an environment of its own with the code in it, under a name that its content gives it.

opt=/opt/gander
releases=$opt/releases
unstarted=$opt/unstarted # there while a change waits to be started: "VERB RELEASE", or empty
parts="edge firmware systemd deploy requirements.txt README.md"

# VERSION-CONTENT: the same files beside the same system are the same release, whenever they are installed.
release_name() {
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/edge/__init__.py")
    # shellcheck disable=SC2086  # parts are words
    content=$({
        cd "$here" && find $parts -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        /usr/bin/python3 -V 2>/dev/null | cut -d. -f-2
        from_apt
        numpy_of_apt
    } | sha256sum | cut -c1-8)
    echo "$version-$content"
}

# What of apt's the environment must see.
from_apt() {
    for package in python3-picamera2 python3-lgpio; do
        ! installed $package || echo $package
    done
}

make_release() {
    for old in "$root$releases"/*; do
        if [ -d "$old" ] && [ ! -e "$old/complete" ]; then
            run "remove $(basename "$old"), which was never finished" rm -rf "$old"
        fi
    done
    if [ -e "$root$releases/$release/complete" ]; then
        return 0
    fi
    [ -n "$dry" ] || trap 'rm -rf "${releases:?}/$release"' EXIT
    run "make an environment in $releases/$release" environment
    run "install the Python packages of requirements.txt" python_packages
    run "copy the code" code
    trap - EXIT
}

environment() {
    install -d -m 755 "$releases" || return 1
    if [ -n "$(from_apt)" ]; then
        /usr/bin/python3 -m venv --system-site-packages "$releases/$release"
    else
        /usr/bin/python3 -m venv "$releases/$release"
    fi
}

python_packages() {
    python=$releases/$release/bin/python
    numpy_of_apt >"$releases/$release/constraints.txt" || return 1
    if same_packages "$opt/current" "$releases/$release"; then
        linked "$opt/current" "$releases/$release"
        return
    fi
    set -- --quiet --no-input --disable-pip-version-check --no-cache-dir --only-binary :all: \
        --constraint "$releases/$release/constraints.txt" --requirement "$here/requirements.txt"
    if [ -n "$wheels" ]; then
        set -- "$@" --no-index --find-links "$wheels"
    fi
    "$python" -m pip install "$@"
}

# same_packages OLD NEW: wanted by the same Python, so that the card need not be written again.
same_packages() {
    [ -e "$1/complete" ] && cmp -s "$1/share/requirements.txt" "$here/requirements.txt" &&
        cmp -s "$1/constraints.txt" "$2/constraints.txt" && cmp_line version "$1/pyvenv.cfg" "$2/pyvenv.cfg" &&
        cmp_line include-system "$1/pyvenv.cfg" "$2/pyvenv.cfg"
}

cmp_line() {
    [ "$(grep "^$1" "$2")" = "$(grep "^$1" "$3")" ]
}

# linked OLD NEW: the same files in both, which nobody changes in place; the code comes anew.
linked() {
    old=$(library "$1") && new=$(library "$2") && rm -rf "$new" && cp -al "$old" "$new" && rm -rf "$new/edge" "$new/firmware"
}

library() {
    "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

# What apt's picamera2 was built against: another major version of numpy breaks it.
numpy_of_apt() {
    if installed python3-picamera2; then
        major=$(/usr/bin/python3 -c 'import numpy; print(numpy.__version__.split(".")[0])') || return 1
        echo "numpy<$((major + 1))"
        [ "$major" -gt 1 ] || echo "opencv-python-headless<5"
    fi
}

code() {
    there=$releases/$release
    library=$(library "$there") || return 1
    install -d -m 755 "$there/share"
    copy "$library" edge firmware && copy "$there/share" systemd deploy requirements.txt README.md || return 1
    # Not by -m: that would run what lies in the folder one is in.
    printf '#!%s\nfrom edge.cli import main\n\nmain()\n' "$there/bin/python" >"$there/bin/gander" || return 1
    chmod 755 "$there/bin/gander" || return 1
    "$there/bin/python" -m compileall -q "$library/edge" "$library/firmware" || return 1
    # All of it must load, beside what apt brought; else the release before stays.
    "$there/bin/python" -P -c 'import edge.app, edge.publish' && "$there/bin/gander" --version >/dev/null || return 1
    for package in $(from_apt); do
        "$there/bin/python" -P -c "import ${package#python3-}" || return 1
    done
    sync
    date >"$there/complete"
}

# copy TO WHAT…: as root's, readable by all, whatever the checkout's owner and mode.
copy() {
    to=$1
    shift
    (cd "$here" && tar --exclude=__pycache__ --owner=0 --group=0 --mode=u=rwX,go=rX -cf - "$@") |
        tar -C "$to" --no-same-permissions -xf -
}

# switch_to NAME: in one moment; what was current becomes the one to go back to.
switch_to() {
    [ ! -e "$root$unstarted" ] || run "finish what an earlier run has not started" true
    old=$(current current)
    if [ "$old" != "$1" ]; then
        [ -n "$dry" ] || [ -z "$old" ] || fits "$1" "$old"
        run "make $1 the current release" link "$1" "$old"
    fi
}

# fits NEW OLD: where the one that runs could start anew, the other must be able to.
fits() {
    why=$(starts "$1" 2>&1) || ! starts "$2" >/dev/null 2>&1 ||
        refuse "$1 cannot start here, $2 stays: $(echo "$why" | tail -n 1)"
}

# Whether this release takes the configuration, the models and the databases that are here; it writes nothing.
starts() {
    as_watch "$releases/$1/bin/python" -P -c "
from pathlib import Path
from edge.database import VERSIONS, reader
for path in (Path('$state', name) for name in VERSIONS):
    if path.exists():
        with reader(path):
            pass" && as_watch "$releases/$1/bin/gander" check --config "$etc/gander.toml" --state "$state"
}

current() {
    basename "$(readlink "$root$opt/$1" 2>/dev/null || true)"
}

link() {
    if [ -n "$2" ]; then
        ln -sfn "releases/$2" "$opt/previous.new" && mv -fT "$opt/previous.new" "$opt/previous" || return 1
    fi
    ln -sfn "releases/$1" "$opt/current.new" && mv -fT "$opt/current.new" "$opt/current" && sync
}

# The current one, the one before, and one more.
keep_three() {
    kept=0
    for old in $(find "$root$releases" -mindepth 2 -maxdepth 2 -name complete -printf '%T@ %h\n' 2>/dev/null |
        sort -rn | sed 's,.*/,,'); do
        case $old in
        "$(current current)" | "$(current previous)") ;;
        *)
            kept=$((kept + 1))
            if [ "$kept" -gt 1 ]; then
                run "remove the old release $old" rm -rf "${releases:?}/$old/complete" "${releases:?}/$old"
            fi
            ;;
        esac
    done
}

go_back() {
    was=''
    [ ! -e "$root$unstarted" ] || read -r was release <"$root$unstarted" || true
    # A way back that was cut short is gone to its end, and not forth again.
    [ "$was" = back ] || release=$(current previous)
    [ -e "$root$releases/${release:-none}/complete" ] || refuse "there is no release before this one"
    switch_to "$release"
    put "$command" 755 root:root <"$root$releases/$release/share/deploy/gander"
    install_units
    start_units
    say "$release runs now; --back again returns to $(current previous)"
}
