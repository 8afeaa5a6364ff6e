"""The verbs of the feed. By itself (`python -m edge.cli_feed`) it is small: no camera, no model, no picture library."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Annotated

import typer

from edge.cli_common import (
    ConfigOption,
    MqttOption,
    SetOption,
    StateOption,
    enter,
    home,
    with_mqtt,
)
from edge.publish import publish as publish_all

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def publish(
    config: ConfigOption = None,
    state: StateOption = None,
    mqtt: MqttOption = None,
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0.1, max=1e8, help="Stop after so long.")
    ] = None,
    overrides: SetOption = None,
    attached: Annotated[bool, typer.Option("--attached", hidden=True, help="End when standard input does.")] = False,
) -> None:
    """Tell the world: send what the journal holds to MQTT and files, and what comes by MQTT to the daemon."""
    logging.getLogger().setLevel(logging.INFO)
    chosen, folder = home(config, state, with_mqtt(overrides, mqtt))
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    if attached:
        threading.Thread(target=_until_input_ends, args=(ending,), name="input", daemon=True).start()
    if seconds:
        signal.signal(signal.SIGALRM, lambda *_: ending.set())
        signal.setitimer(signal.ITIMER_REAL, seconds)
    publish_all(chosen, folder, ending)


def _until_input_ends(ending: threading.Event) -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock this thread would still hold at the end
        pass
    ending.set()


if __name__ == "__main__":
    enter(app)
