"""What the real daemon records of an action, and what `gander effect` says of it, beside the daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.daemon import SLACK_MS, Daemon
from tests.stage import Actor, clip, gander


def test_one_action_of_the_real_daemon(start: Callable[..., Daemon], tmp_path: Path) -> None:
    film = clip(tmp_path / "jay.avi", [Actor("red", 6.0, 14.0)], 30)
    daemon = start(film=film)
    daemon.wait(lambda: bool(daemon.events("visit")))
    action, visit = daemon.events("action")[0], daemon.events("visit")[0]
    assert action["decided"]["by"] == "policy"
    assert "light" in action["decided"]["eligible"]
    assert visit["visit"]["left"] is True
    (pulse,) = visit["pulses"]
    assert pulse["id"] == action["action"]["id"]
    assert abs(sum(daemon.pulses()) - pulse["on_ms"]) <= SLACK_MS, "as the guard measured it"
    answer = gander("effect", "--json", state=daemon.state)
    assert answer.status == 0, answer.err
    (stay,) = answer.objects[:-1]
    assert (stay["label"], stay["deterrent"], stay["visits"]) == ("red", "light", [visit["visit"]["id"]])
    fired_s = action["media_time"] + action["latency_ms"]["pin"] / 1000
    left_s = visit["media_time"] + visit["visit"]["blind_s"]
    assert abs(stay["leave_s"] - (left_s - fired_s)) < 0.01
    assert "not enough yet: 1 action, 20 are wanted" in answer.summary["words"]
    refused = gander("effect", state=tmp_path / "nowhere")
    assert refused.status == 2
    assert refused.err.count("\n") == 1
