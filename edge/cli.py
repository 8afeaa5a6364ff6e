"""The command line: verbs only. Each reads its arguments, calls one function, and prints what came of it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edge import __version__
from edge.cli_common import enter, give_way, say

VERBS = {
    "edge.cli_run": ("run",),
    "edge.cli_watch": ("watch", "replay", "check", "config"),
    "edge.cli_feed": ("publish",),
    "edge.cli_owner": ("arm", "disarm", "mode", "pause", "status", "events", "label", "fire", "prune"),
    "edge.cli_keep": ("visits", "export"),
    "edge.cli_effect": ("effect",),
    "edge.cli_backup": ("backup", "restore"),
    "edge.cli_doctor": ("doctor",),
    "edge.cli_bundle": ("bundle",),
    "edge.cli_bench": ("bench",),
}
"""Where the verbs are, in the order people read them. Each module has them in an `app`."""
READS_MUCH = frozenset({"effect", "export", "backup", "restore"})
"""These give way to a running watch, and do so before they import anything."""
_MODULES = {verb: module for module, verbs in VERBS.items() for verb in verbs}


class Verbs(TyperGroup):
    """Imports what the verb asked for needs, and no more: `gander arm` brings no camera and no model."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _MODULES:
            return None
        if cmd_name in READS_MUCH and cmd_name in sys.argv:
            give_way()
        module: Any = import_module(_MODULES[cmd_name])
        command = get_command(module.app)
        # A module of one verb is that verb; one that is named like it is a group.
        return getattr(command, "commands", {}).get(cmd_name, command)


app = typer.Typer(
    cls=Verbs,
    help="Gander watches a henhouse, knows who came, and scares off who should not be there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry of `gander`. Exit status: 0 done, 1 failed, 2 refused input."""
    enter(app)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"gander {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="State directory, for any verb.")] = None,
) -> None:
    """Gander watches a henhouse, knows who came, and scares off who should not be there."""
    if state:
        os.environ["GANDER_STATE"] = str(state)  # where every verb's own --state looks next


if __name__ == "__main__":
    main()
