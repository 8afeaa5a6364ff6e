"""A lens and its file: what is usual outlives restarts, damage is learnt anew, and what the owner deletes."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from edge.config import CameraConfig
from edge.lens import FILE, Lens, Lenses
from edge.lens_past import Usual
from tests.edge.yard import DAY_S, DAYS_S, HOUR_S, Yard, frame, out_of_focus, watch


def test_what_is_usual_outlives_a_restart(tmp_path: Path, taught: Lens, yard: Yard) -> None:
    camera = CameraConfig(id="nest")
    first = Lenses([camera], tmp_path)
    first._lenses["nest"] = taught
    list(watch(taught, yard, DAYS_S + 9 * HOUR_S, 0.5 * HOUR_S, out_of_focus))
    first.look({"nest": frame(out_of_focus(yard.picture(0)[0]), 3 * DAY_S)}, 0.0, clock_known=True)
    first.save()
    assert (tmp_path / FILE).stat().st_size < 20_000
    again = Lenses([camera], tmp_path)
    assert again.status("nest")["problems"] == first.status("nest")["problems"] != []
    for before, after in zip(taught.usual.hours, again._lenses["nest"].usual.hours, strict=True):
        assert after.brightness == pytest.approx(before.brightness, abs=0.1)
        assert after.days == before.days
    taken_up = again._lenses["nest"]
    assert taken_up.usual.sharpness["colour"].value == pytest.approx(taught.usual.sharpness["colour"].value, rel=1e-3)
    quiet = list(watch(taken_up, yard, 3 * DAY_S, DAY_S))
    assert [names for passed, names in quiet if names and passed > HOUR_S] == []
    other = Lenses([camera.model_copy(update={"rotate": 180})], tmp_path)
    assert other.status("nest")["problems"] == [], "another view has other habits"


WHOLE = Usual(edges_s=9000.0, watched_s=8000.0).json() | {"sharpness": {"colour": [1.0, 9000.0], "grey": [1.0, 9000.0]}}
NOW = {"of": "OF", "usual": WHOLE, "told": {"dark": 7.0}}


def damaged(**parts: Any) -> str:
    return json.dumps({"nest": NOW | {"usual": WHOLE | parts}})


def lenses_of(state: Path, text: str) -> Lenses:
    camera = CameraConfig(id="nest")
    (state / FILE).write_text(text.replace("OF", f"{camera.shown} {camera.size} {camera.rotate} {camera.fps}"))
    return Lenses([camera], state)


def test_what_the_owner_deletes_is_learnt_anew(tmp_path: Path, taught: Lens, yard: Yard) -> None:
    lenses = Lenses([CameraConfig(id="nest")], tmp_path)
    image = yard.picture(0)[0]
    for now_s in range(0, 20, 10):
        lenses.look({"nest": frame(image, float(now_s))}, float(now_s), clock_known=True)
        assert lenses.status("nest")["brightness"], "what was never written was not deleted"
    lenses._lenses["nest"] = taught
    list(watch(taught, yard, DAYS_S + 9 * HOUR_S, 0.5 * HOUR_S, out_of_focus))
    lenses.look({"nest": frame(image, 3 * DAY_S)}, 30.0, clock_known=True)
    assert lenses.status("nest")["problems"] != []
    (tmp_path / FILE).unlink()
    lenses.look({"nest": None}, 40.0, clock_known=True)
    assert lenses.status("nest") == Lens(CameraConfig(id="nest")).status()
    lenses.look({"nest": frame(image, 3 * DAY_S)}, 50.0, clock_known=True)
    lenses.save()
    (tmp_path / FILE).unlink()
    lenses.save()
    assert list(tmp_path.iterdir()) == [], "a process that ends does not bring it back"
    again = lenses_of(tmp_path, damaged())
    assert again.status("nest")["problems"] != []
    (tmp_path / FILE).unlink()
    again.save()
    assert again.status("nest")["problems"] == [], "nor one that has not written it itself"


@pytest.mark.parametrize(
    "damage",
    [
        *("", "[]", '{"nest": 3}', '{"nest": {"of": "OF", "usual": {}, "told": []}}', "\x00" * 9),
        *(damaged(hours=[[days, 1.0, 1.0, None]] * 24) for days in (-1, math.inf, math.nan, 10**400)),
        *(damaged(hours=hours) for hours in ([], [[7, 1.0, 1.0, [1.0]]] * 24, [[7, 1.0, 1.0, "on"]] * 24)),
        *(json.dumps({"nest": NOW | {"told": told}}) for told in (["dark"], {"dark": -1.0}, {"dark": math.nan})),
        *(damaged(edges="AAAA"), damaged(light=[None, -1.0]), damaged(detail={"colour": [1.0, 1.0]})),
    ],
)
def test_damage_is_learnt_anew(tmp_path: Path, damage: str, yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lenses = lenses_of(tmp_path, damage)
    assert lenses.status("nest")["problems"] == []
    assert not lenses._lenses["nest"].usual.sharpness["grey"].known
    assert lenses.status("other") == {}
    list(watch(lenses._lenses["nest"], yard, 0.5 * HOUR_S, HOUR_S))


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    lens = lenses_of(tmp_path, damaged(hours=[[9, 120.0, 1.0, [100.0, 0.5]]] * 24))._lenses["nest"]
    assert lens.usual.sharpness["grey"].known
    assert lens.usual.watched_s == 8000.0
    assert {(one.days, one.newest) for one in lens.usual.hours} == {(7, (100.0, 0.5))}
    assert [name for name, evidence in lens.evidence.items() if evidence.told_s == 7.0 and evidence.told] == ["dark"]


def test_it_looks_every_ten_seconds_and_writes_rarely(tmp_path: Path, yard: Yard) -> None:
    lenses = Lenses([CameraConfig(id="nest")], tmp_path)
    lenses.save()
    assert list(tmp_path.iterdir()) == [], "nothing seen, nothing to keep"
    image = yard.picture(12 * HOUR_S)[0]
    lens = lenses._lenses["nest"]
    for now_s in range(0, 60):
        lenses.look({"nest": frame(image, float(now_s))}, float(now_s), clock_known=True)
    assert lens.usual.sharpness["colour"].seconds == pytest.approx(60.0 + 50.0), "the first counts for a minute"
    lenses.look({"nest": frame(image, 50.0)}, 100.0, clock_known=True)
    assert lens.usual.sharpness["colour"].seconds == pytest.approx(110.0), "the same frame again says nothing"
    assert list(tmp_path.iterdir()) == []
    lenses.look({"nest": None}, 7 * HOUR_S, clock_known=True)
    assert "nest" in json.loads((tmp_path / FILE).read_text())
