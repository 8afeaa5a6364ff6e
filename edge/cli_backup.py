"""Everything precious in one file, and back: backup, restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge.backup import backup as make_backup
from edge.cli_common import ConfigOption, JsonOption, StateOption, home, in_use, print_json, say
from edge.cli_keep import quietly, say_of_pictures
from edge.manifest import SUFFIX
from edge.restore import restore as bring_back

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to make, such as gander.tar.")],
    everything: Annotated[bool, typer.Option("--all", help="Every picture, not only the labelled ones.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep journal, labels, models, keys, configuration and labelled pictures in one file; also while it watches."""
    chosen, folder = home(config, state)
    with quietly(as_json) as told:
        used = in_use(config)
        done = make_backup(folder, file, chosen.node.name, config=used, everything=everything, progress=told)
    if as_json:
        print_json({"summary": {"file": str(file), **asdict(done)}})
        return
    say(
        f"{file}: {done.bytes / 1e6:.1f} MB: {done.events} events, {done.visits} visits, {done.labels} labels, "
        f"{done.models} models, {done.pictures} pictures"
    )
    say_of_pictures(done.people, done.vanished)
    if done.key:
        say(
            "It holds the device's private key: who has it can sign models for this device. Only you may read the file "
            "(mode 0600); keep it so"
        )
    mqtt = chosen.mqtt
    secrets = [mqtt.password_file, mqtt.key, chosen.x.credentials]
    secrets += [camera.credentials for camera in chosen.camera] + [notify.urls_file for notify in chosen.notify]
    if named := list(dict.fromkeys(filter(None, secrets))):
        say(f"passwords are not in it: keep a copy of {', '.join(named)} yourself")
    bundles = [name for name in (chosen.models.champion, chosen.models.standby) if name.endswith(SUFFIX)]
    others = filter(None, [mqtt.ca, mqtt.certificate, *chosen.models.trusted_keys, *bundles])
    if elsewhere := [path for path in others if folder.absolute() not in Path(path).absolute().parents]:
        say(f"what lies elsewhere is not in it either: keep a copy of {', '.join(elsewhere)} yourself")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `gander backup` made.")],
    force: Annotated[bool, typer.Option("--force", help="Also where a journal is; that is moved aside first.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a backup back into the state directory. It is checked whole before anything is touched."""
    _, folder = home(config, state)
    with quietly(as_json):
        done = bring_back(folder, file, force)
    if as_json:
        print_json({"summary": {"state": str(folder), **asdict(done)}})
        return
    say(f"{folder}: restored {done.files} files ({done.bytes / 1e6:.1f} MB) of {done.node}, as of {done.wall}")
    if done.before:
        say(f"what was there before is in {done.before}; remove it when it is not needed any more")
    if done.config:
        say(f"its configuration is {done.config}: use it with --config, or compare it with the one here")
    was = "" if done.mode == "observe" else f" (it was {done.mode}: `gander mode {done.mode}` once you have looked)"
    say(f"mode is observe{was}")
