"""What a terminal shows: the live view of `gander run`, tables and lines. Draws, decides nothing."""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge import editor, feed
from edge.config_feed import XConfig
from edge.publishers.x_text import fit

if TYPE_CHECKING:
    from edge.trial import Trial

KIND_STYLE = {"threat": "bold red", "resident": "green", "person": "bold blue", "other": "dim"}
_TYPE = {"visit_started": "came", "visit": "left", "action": "ACTED", "suppressed": "held"}
_SHOWN = 14


class LiveView:
    """Who, what was decided, why, how many milliseconds, and what would be posted."""

    def __init__(self, title: str, x: XConfig) -> None:
        """`x`: by whose rules and prices posts would be made."""
        self._title, self._x = title, x
        self.posted = 0
        """Posts that would have been made."""
        self._events: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN)
        self._posts: deque[str] = deque(maxlen=3)
        self._notes: deque[str] = deque(maxlen=3)
        self._status: Mapping[str, Any] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        self._events.append(event)
        if event["type"] == "visit" and editor.wanted(event, self._x):
            self.posted += 1
            self._posts.append(fit(feed.visit_post(event, datetime.now(UTC)).text, self._x.urls))

    @property
    def bill(self) -> str:
        """What that would cost."""
        price = self._x.price + (self._x.price_picture if self._x.picture else 0.0)
        what = f"{'post' if self.posted == 1 else 'posts'}{' with a picture' if self._x.picture else ''}"
        return f"{self.posted} {what} at ${price:.3f} = ${self.posted * price:.3f}"

    @property
    def _is_posted(self) -> str:
        return "is posted to X, by its rules" if self._x.enabled else "would be posted to X, which is off"

    def note(self, text: str) -> None:
        """What a process beside the daemon says."""
        self._notes.append(text)

    def status(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def __rich__(self) -> RenderableType:
        posts = Text(
            "\n".join(self._posts) or "nothing yet: a threat's visit makes a post once it is over",
            style="" if self._posts else "dim",
        )
        return Group(
            Panel(self._head(), title=Text(self._title, style="bold"), title_align="left", border_style="cyan"),
            events_table(self._events),
            latency_table(self._status.get("latency_ms", {})),
            Panel(posts, title=f"{self._is_posted}: {self.bill}", title_align="left", border_style="dim"),
            Text("\n".join(self._notes), style="dim"),
        )

    def _head(self) -> RenderableType:
        status = self._status
        if not status:
            return Text("starting: the model is being loaded", style="dim")
        grid = Table.grid(padding=(0, 3))
        mode = Text(status["mode"], style="bold red" if status["mode"] == "armed" else "yellow")
        if status["paused"]:
            mode.append(" (paused)")
        model = f"{status['model']}{' (demo)' if status['demo'] else ''}"
        grid.add_row("camera", status["source"], "model", model, "deterrent", status["controller"])
        frames = f"{status['frames']} seen, {status['dropped']} dropped"
        grid.add_row("mode", mode, "frames", frames, "in view", _visitors(status["visits"]))
        return grid


def _visitors(visits: Sequence[Mapping[str, Any]]) -> Text:
    text = Text()
    for visit in visits:
        text.append(f"{common_name(visit['label'])} ", style=KIND_STYLE[visit["kind"]])
    return text or Text("nobody", style="dim")


def common_name(label: str | None) -> str:
    """The visitor's name as the sentences have it."""
    return feed.who({"visit": {"label": label}})


def events_table(events: Iterable[Mapping[str, Any]]) -> Table:
    """Events, oldest first, a row each."""
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    for name, width in (("time", 12), ("", 6), ("who", 24), ("sure", 5), ("why", None), ("pin ms", 8), ("onset ms", 9)):
        table.add_column(name, width=width, no_wrap=width is not None, justify="right" if "ms" in name else "left")
    for event in events:
        table.add_row(*event_row(event))
    return table


def event_row(event: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    visit, latency = event.get("visit") or {}, event.get("latency_ms") or {}
    style = KIND_STYLE.get(visit.get("kind", "other"), "")
    type_ = Text(_TYPE.get(event["type"], event["type"]), style="bold red" if event["type"] == "action" else "")
    if event["type"] == "action":
        action = event["action"]
        reason = f"{action['deterrent']} {action['pattern']}: {action['result']}"
    elif event["type"] == "command":
        reason = f"{event['who']}: {event['command']}"
    elif event["type"] == "test_fire":
        reason = f"{event['who']} tried {event['action']['deterrent']}: {event['action']['result']}"
    elif event["type"] in ("health", "model"):
        reason = event["what"]
    elif event["type"] == "visit_started":
        reason = ""
    elif event["type"] == "visit":
        times = {0: "", 1: ", acted upon once"}.get(visit["actions"], f", acted upon {visit['actions']} times")
        reason = f"stayed {feed.stay_s(event):.0f} s{times}"
    else:
        reason = feed.why(event)
    return (
        local_time(event["wall"]),
        type_,
        Text(common_name(visit["label"]) if visit else "", style=style),
        f"{visit['p']:.0%}" if visit and visit["answers"] else "",
        reason,
        f"{latency['pin']:.0f}" if "pin" in latency else "",
        f"{latency['onset']:.0f}" if "onset" in latency else "",
    )


def latency_table(latency: Mapping[str, Mapping[str, float]]) -> Table:
    """Percentiles per step, in milliseconds."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("ms")
    for name in ("n", "p50", "p95", "p99", "max"):
        table.add_column(name, justify="right", min_width=7)
    for step, figures in latency.items():
        if figures.get("n"):
            numbers = (f"{figures[name]:.2f}" for name in ("p50", "p95", "p99", "max"))
            table.add_row(step, str(figures["n"]), *numbers)
    return table


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A replay's counts; for sequences how many of each label were acted upon."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in ("frames", "dropped", "skipped", "visits", "actions"):
        table.add_row(name, str(summary[name]))
    for kind, n in summary["by_kind"].items():
        table.add_row(f"  {kind}", str(n), style=KIND_STYLE[kind])
    for label, counts in summary.get("sequences", {}).items():
        table.add_row(f"sequences of {label}", f"{counts['acted']} of {counts['n']} acted upon")
    return table


def status_table(status: Mapping[str, Any]) -> Table:
    """How a daemon is, for `gander status`."""
    table = Table(box=None, pad_edge=False, show_header=False)
    journal = status["journal"]
    table.add_row("node", f"{status['node']}, up {status['uptime_s']:.0f} s, process {status['pid']}")
    table.add_row("mode", f"{status['mode']}{', paused' if status['paused'] else ''}")
    for camera in status["cameras"]:
        counts = f"{camera['frames']} frames, {camera['dropped']} dropped"
        counts += f", opened again {camera['reopened']} times" if camera["reopened"] else ""
        counts += {"grey": ", sees no colour (infrared?)"}.get(camera["lens"].get("sees", ""), "")
        if sharp := camera["lens"].get("sharpness"):
            counts += f", sharpness {sharp:.0%} of the usual"
        trouble = f"; NO PICTURE: {camera['trouble']}" if camera["trouble"] else ""
        table.add_row(f"camera {camera['id']}", f"{camera['source']}, {counts}{trouble}")
    ladder = status["ladder"]
    if ladder["restarts"] or ladder["reboots"]:
        steps = f"restarted {ladder['restarts']} times, {ladder['reboots']} reboots asked for"
        table.add_row("stuck camera", steps)
    for model in status["models"]:
        state = "loaded" if model["ready"] else "NOT LOADED"
        fates = ", ".join(f"{count} {fate}" for fate, count in model["fates"].items()) or "not asked yet"
        table.add_row(model["role"], f"{model['name']}, {state}, started {model['starts']} times of late; {fates}")
    facts = status["controller_facts"]
    ready = "ready" if status["controller_ready"] else f"NOT READY: {facts.get('trouble', '')}"
    table.add_row("controller", f"{status['controller']}, {ready}, {facts['refused']} orders refused")
    table.add_row("clock", "set" if status["clock_known"] else "not set: quiet hours hold")
    table.add_row("journal", f"{journal['committed']} written, {journal['waiting']} wait, {journal['dropped']} dropped")
    for name, queue in status["publishers"].items():
        table.add_row(f"to {name}", _queue(queue))
    pictures = status["pictures"]
    table.add_row("pictures", f"{pictures['bytes'] / 1e6:.0f} MB kept, {pictures['dropped']} not kept")
    if (card := status["card"])["written_day"] is not None:
        disk = (
            "" if card["disk_written_day"] is None else f", {card['disk_written_day'] / 1e9:.2f} GB on {card['disk']}"
        )
        table.add_row("written a day", f"{card['written_day'] / 1e9:.2f} GB by watch{disk}")
    table.add_row("state", status["state"])
    for problem in status["problems"]:
        table.add_row(Text("problem", style="bold red"), f"{problem['what']}: {problem['advice']}")
    return table


def _queue(queue: Mapping[str, Any]) -> str:
    parts = [f"{queue['waiting']} wait" if queue["waiting"] else "all told"]
    if queue["waiting"] and queue["oldest_s"] is not None:
        parts.append(f"the oldest for {queue['oldest_s']:.0f} s")
    parts += [f"{queue[what]} {what}" for what in ("refused", "dropped") if queue[what]]
    return ", ".join(parts) + "".join(f"; {queue[what]}" for what in ("why", "trouble") if queue[what])


def post_panel(trial: Trial) -> Panel:
    """What a sink would be sent, and what that costs."""
    parts: list[RenderableType] = [Text(trial.text)]
    if trial.picture:
        parts.append(Text(f"picture: {len(trial.picture) / 1000:.0f} kB; in words: {trial.alt}", style="dim"))
    if trial.dollars is not None:
        parts.append(Text(f"price: ${trial.dollars:.3f}", style="bold"))
    return Panel(Group(*parts), title=f"{trial.sink}: {trial.title}", title_align="left", border_style="cyan")


def scenes_table(summary: Mapping[str, Any]) -> Table:
    """What a bench of scenes counted, a row each."""
    watched = f"{summary['seeds']} yards of each, {summary['seconds']:.0f} s"
    table = Table(box=None, pad_edge=False, header_style="bold", caption=watched, caption_justify="left")
    table.add_column("scene")
    for name in (
        "jays acted on",
        "held by nobody",
        "onset s",
        "false",
        "visits of nothing an hour",
        "people not there",
        "asked a minute",
    ):
        table.add_column(name, justify="right")
    for scene, row in summary["scenes"].items():
        onset = "" if row["onset_p50_s"] is None else f"{row['onset_p50_s']:.2f}"
        counts = (row["false_actions"], row["visits_of_nothing_per_hour"], row["people_not_there"])
        asked = str(row["questions_per_minute"])
        jays = f"{row['acted']} of {row['jays']}", str(row["held_by_nobody"])
        table.add_row(scene, *jays, onset, *map(str, counts), asked)
    return table


def visits_table(visits: Iterable[Mapping[str, Any]]) -> Table:
    """Visits, a row each, for a terminal or a printer."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("visit", "camera", "came", "stayed", "who", "kind", "sure", "actions", "owner says"):
        table.add_column(name, no_wrap=name in ("visit", "came"))
    for visit in visits:
        stayed = ""
        if visit["ended"]:
            seconds = datetime.fromisoformat(visit["ended"]) - datetime.fromisoformat(visit["started"])
            stayed = f"{seconds.total_seconds():.0f} s"
        table.add_row(
            visit["id"][-12:],
            visit["camera"],
            datetime.fromisoformat(visit["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            stayed,
            Text(visit["label"] or "?", style=KIND_STYLE.get(visit["kind"] or "other", "")),
            visit["kind"],
            f"{visit['p'] or 0:.0%}",
            str(visit["actions"]),
            visit.get("owner") or "",
        )
    return table


def visits_log(
    visits: Iterable[Mapping[str, Any]],
    fired: Iterable[Mapping[str, Any]],
    deterrents: Iterable[Mapping[str, Any]],
    about: str = "",
) -> str:
    """Visits as plain text of 80 columns, to print for whoever asks: who came, and what was done, day by day.

    `visits` as `journal.recent_visits` has them, `fired` as `export.what_fired`; `deterrents`: each `id`, `kind`,
    `enabled` and `quiet` (hours in which it is not to fire, "" for none); `about`: which part this is. Local time.
    That a deterrent kept its quiet hours is said from what it did, as listed, never from the configuration.
    """
    done: dict[str, list[Mapping[str, Any]]] = {}
    lines: list[tuple[str, str, Sequence[Mapping[str, Any]], int]] = []
    for order in fired:
        done.setdefault(order["visit_id"] or "", []).append(order)
    for visit in visits:
        lines.append((visit["started"], _logged(visit, done.get(visit["id"], ())), done.get(visit["id"], ()), 1))
    for test in done.get("", ()):
        lines.append((test["wall"], _row(test["wall"], "", "a test", "", "", _what_was_done([test])), [test], 0))
    text = ["GANDER: WHO CAME, AND WHAT WAS DONE", *textwrap.wrap(about, 80), ""]
    shown = [order for entry in lines for order in entry[2] if order["result"] == "on"]
    text += [line for deterrent in deterrents for line in _hours(deterrent, shown)]
    days: dict[str, list[tuple[str, str, Sequence[Mapping[str, Any]], int]]] = {}
    for entry in sorted(lines, key=lambda entry: entry[0]):
        days.setdefault(f"{_local(entry[0]):%A %Y-%m-%d (UTC%z)}", []).append(entry)
    for day, entries in days.items():
        orders = [order for entry in entries for order in entry[2]]
        came = sum(entry[3] for entry in entries)
        text += ["", day, "-" * 80, *(entry[1] for entry in entries)]
        text += textwrap.wrap(f"{came} visit{'s' * (came != 1)}; {_what_was_done(orders) or 'nothing was done'}", 80)
    return "\n".join([*text, *([] if days else ["", "nobody came"]), ""])


def _hours(deterrent: Mapping[str, Any], fired: Iterable[Mapping[str, Any]]) -> list[str]:
    """What one deterrent did in all, and whether by night; nothing of one that is off and did nothing."""
    acted = [order["wall"] for order in fired if order["deterrent"] == deterrent["id"]]
    if not (deterrent["enabled"] or acted):
        return []
    says = [f"acted {len(acted)} time{'s' * (len(acted) != 1)}"]
    if deterrent["quiet"]:
        from edge.sun import is_quiet  # it brings where the sun stands, which nothing else that is shown here needs

        then = sum(is_quiet(deterrent["quiet"], _local(wall), deterrent.get("place")) for wall in acted)
        counted = f", {then or 'never'} in those hours" if acted else ""
        says = [f"quiet hours {deterrent['quiet'].replace('-', ' to ')}", says[0] + counted]
    if deterrent["kind"] == "light":
        says.append("it makes no noise")
    kind = "" if deterrent["kind"] == deterrent["id"] else f" ({deterrent['kind']})"
    return textwrap.wrap(f"{deterrent['id']}{kind}: {'; '.join(says)}", 80)


def _logged(visit: Mapping[str, Any], orders: Sequence[Mapping[str, Any]]) -> str:
    owner, stayed = visit.get("owner"), ""
    sure = "owner" if owner else f"{visit['p']:.0%}" if visit["p"] else ""  # who it was is known then, not guessed
    if visit["ended"]:
        seconds = (_local(visit["ended"]) - _local(visit["started"])).total_seconds()
        stayed = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    return _row(
        visit["started"], visit["camera"], owner or common_name(visit["label"]), sure, stayed, _what_was_done(orders)
    )


def _row(wall: str, camera: str, who: str, sure: str, stayed: str, done: str) -> str:
    """One line, and more where what was done needs them."""
    who = "".join(sign if sign.isprintable() else "?" for sign in who)
    head = f"{_local(wall):%H:%M:%S}  {_cut(camera, 10)} {_cut(who, 18)} {sure:>5} {stayed:>7}  "
    return head + ("\n" + " " * cell_len(head)).join(textwrap.wrap(done or "-", 80 - cell_len(head)))


def _cut(text: str, width: int) -> str:
    """So many columns of a terminal, also of signs that take two."""
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "~", width)


def _what_was_done(orders: Iterable[Mapping[str, Any]]) -> str:
    """Which deterrent, its pattern, how often, how long it was on in all."""
    counts: dict[str, list[int]] = {}
    for order in orders:
        on = order["result"] == "on"
        what = f"{order['deterrent']} {order['pattern']} ms" if on else f"{order['deterrent']} did not act"
        counts.setdefault(what, []).append((order["on_ms"] or 0) * on)
    return "; ".join(
        f"{what}, {len(times)}x" + (f", {sum(times) / 1000:.1f} s in all" if sum(times) else "")
        for what, times in counts.items()
    )


def _local(wall: str) -> datetime:
    return datetime.fromisoformat(wall).astimezone()


def local_time(wall: str) -> str:
    return datetime.fromisoformat(wall).astimezone().strftime("%H:%M:%S.%f")[:-3]
