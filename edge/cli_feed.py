"""The verbs of the feed. By itself (`python -m edge.cli_feed`) it is small: no camera, no model, no picture library."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from edge.cli_common import (
    ConfigOption,
    MqttOption,
    SetOption,
    StateOption,
    enter,
    home,
    out,
    say,
    with_mqtt,
)
from edge.config import Config
from edge.errors import Refused
from edge.publish import publish as publish_all
from edge.publish import sinks
from edge.service import Service, with_credentials

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
    test: Annotated[
        str | None, typer.Option(metavar="SINK", help="Show what a sink would be sent, and what that costs.")
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="With --test: and send it.")] = False,
    attached: Annotated[bool, typer.Option("--attached", hidden=True, help="End when standard input does.")] = False,
) -> None:
    """Tell the world: MQTT, files, X, phones. And what comes by MQTT goes to the daemon."""
    chosen, folder = home(config, state, with_mqtt(overrides, mqtt))
    if test is not None:
        return _try(chosen, folder, test, send)
    if send:
        raise Refused("publish --send: say which sink: --test SINK --send")
    logging.getLogger().setLevel(logging.INFO)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    if attached:
        threading.Thread(target=_until_input_ends, args=(ending,), name="input", daemon=True).start()
    if seconds:
        signal.signal(signal.SIGALRM, lambda *_: ending.set())
        signal.setitimer(signal.ITIMER_REAL, seconds)
    service = Service.of(os.environ)
    if service.listens and not sinks(chosen):  # installed and enabled, but not yet told whom to tell: no failure
        say("nobody is to be told: set mqtt.host, jsonl.path, [x] or [[notify]], then restart gander-publish")
        return service.ready("nobody is to be told")
    publish_all(with_credentials(chosen, os.environ), folder, ending, service)


def _try(config: Config, state: Path, sink: str, send: bool) -> None:
    from edge.console import post_panel
    from edge.trial import trial

    with trial(config, state, sink) as shown:
        out.print(post_panel(shown))
        if shown.sample:
            say("This is an example: the journal has nothing yet that this sink wants.")
        if shown.missing:
            say(f"It cannot be sent: {shown.missing}")
        if send:
            say(f"{sink}: {shown.send()}")
            if sink not in ("jsonl", "mqtt"):
                say("A test is counted neither for per_hour and per_day nor for the month's dollars.")
        else:
            say("Nothing was sent; add --send to send it.")


def _until_input_ends(ending: threading.Event) -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock this thread would still hold at the end
        pass
    ending.set()


if __name__ == "__main__":
    enter(app)
