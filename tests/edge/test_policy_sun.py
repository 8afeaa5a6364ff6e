"""Quiet hours by the clock and by the sun, at ordinary places, at the poles, and at the edge of the date."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from astral import Observer
from astral.sun import elevation

from edge.config_file import load
from edge.errors import ConfigError
from edge.sun import is_quiet, sun

LONDON, TROMSO, APIA = (51.5, -0.1), (69.65, 18.96), (-13.83, -171.76)
NIGHT, DAY = "sunset-sunrise", "sunrise-sunset"


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    sun.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    sun.cache_clear()


def local(text: str) -> datetime:
    """Aware UTC of a local time."""
    return datetime.fromisoformat(text).astimezone().astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "hour", "quiet"),
    [("22:00-07:00", 23, True), ("22:00-07:00", 6, True), ("22:00-07:00", 7, False), ("22:00-07:00", 22, True),
     ("22:00-07:00", 12, False), ("12:00-14:00", 13, True), ("12:00-14:00", 14, False), ("12:00-14:00", 12, True),
     ("00:00-00:00", 5, False)],
)  # fmt: skip
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/New_York"], indirect=True)
def test_quiet_hours_by_the_clock_are_local_time(zone: None, hours: str, hour: int, quiet: bool) -> None:
    assert is_quiet(hours, local(f"2026-06-01 {hour:02}:00")) is quiet


@pytest.mark.parametrize("zone", ["Europe/London"], indirect=True)
@pytest.mark.parametrize(
    ("hours", "at", "quiet"),
    [
        # Sunrise in London on 2026-03-20 is at 06:05, sunset at 18:13.
        (NIGHT, "2026-03-20 06:03", True),
        (NIGHT, "2026-03-20 06:07", False),
        (NIGHT, "2026-03-20 18:11", False),
        (NIGHT, "2026-03-20 18:15", True),
        (DAY, "2026-03-20 12:00", True),
        (DAY, "2026-03-20 18:15", False),
        ("sunset+30-sunrise-15", "2026-03-20 18:41", False),
        ("sunset+30-sunrise-15", "2026-03-20 18:45", True),
        ("sunset+30-sunrise-15", "2026-03-20 05:48", True),
        ("sunset+30-sunrise-15", "2026-03-20 05:52", False),
        ("22:00-sunrise", "2026-03-20 21:59", False),
        ("22:00-sunrise", "2026-03-20 22:00", True),
        ("22:00-sunrise", "2026-03-20 06:03", True),
        ("22:00-sunrise", "2026-03-20 06:07", False),
        ("sunset-07:00", "2026-03-20 18:15", True),
        ("sunset-07:00", "2026-03-20 06:59", True),
        ("sunset-07:00", "2026-03-20 07:00", False),
        # Summer time, over a change of which the local hours move and the sun does not: 06:43 and 18:28.
        (NIGHT, "2026-03-29 06:41", True),
        (NIGHT, "2026-03-29 06:47", False),
    ],
)
def test_quiet_hours_by_the_sun(zone: None, hours: str, at: str, quiet: bool) -> None:
    assert is_quiet(hours, local(at), LONDON) is quiet


@pytest.mark.parametrize("zone", ["Europe/Oslo"], indirect=True)
@pytest.mark.parametrize("hour", [0, 1, 6, 11, 12, 13, 18, 23])
def test_a_polar_day_is_never_night_and_a_polar_night_always(zone: None, hour: int) -> None:
    midsummer, midwinter = local(f"2026-06-21 {hour:02}:30"), local(f"2026-12-21 {hour:02}:30")
    assert not is_quiet(NIGHT, midsummer, TROMSO)
    assert not is_quiet("sunset+60-sunrise-60", midsummer, TROMSO)
    assert is_quiet(NIGHT, midwinter, TROMSO)
    assert is_quiet("sunset-30-sunrise+30", midwinter, TROMSO)
    assert is_quiet(DAY, midsummer, TROMSO)
    assert not is_quiet(DAY, midwinter, TROMSO)
    assert is_quiet("22:00-sunrise", midwinter, TROMSO) is (hour not in (12, 13, 18)), "till noon, when it would rise"
    for pole in (90.0, -90.0):
        assert is_quiet(NIGHT, midsummer, (pole, 0.0)) is (pole < 0)
        assert is_quiet(NIGHT, midwinter, (pole, 0.0)) is (pole > 0)


@pytest.mark.parametrize("zone", ["Pacific/Apia", "UTC", "Asia/Shanghai"], indirect=True)
@pytest.mark.parametrize("place", [LONDON, TROMSO, APIA, (-54.8, -68.3), (0.0, 180.0), (43.8, 87.6), (66.0, -18.0)])
def test_night_is_when_the_sun_is_down_whatever_the_time_zone(zone: None, place: tuple[float, float]) -> None:
    """Against where the sun really stands, all through a year: at another time than at its rise and fall themselves."""
    for step in range(0, 365 * 24, 7):
        at = datetime(2026, 1, 1, 0, 7, tzinfo=UTC) + timedelta(hours=step)
        height = elevation(Observer(*place), at, with_refraction=False) + 0.833
        if abs(height) > 0.15:
            assert is_quiet(NIGHT, at, place) is (height < 0), (at, height)


def test_the_sun_of_a_day_rises_before_it_sets() -> None:
    for number in range(0, 366, 5):
        for latitude in (-90, -66.5, -45, 0, 45, 66.5, 90):
            rise, fall = sun(date(2026, 1, 1) + timedelta(days=number), (latitude, 30.0))
            assert timedelta(0) <= fall - rise <= timedelta(days=1)


@pytest.mark.parametrize(
    "hours",
    ["dusk-dawn", "sunset-sunset", "sunrise-10:00", "06:00-sunrise", "sunset-23:00", "sunset+999-sunrise",
     "sunset+181-sunrise", "sunset +30-sunrise", "sunset+٣٠-sunrise", "22:00",
     "-", "22:00-07:00-", "sunrise-03:00", "12:00-sunset"],
)  # fmt: skip
def test_hours_that_leave_a_doubt_are_refused_in_one_line(hours: str) -> None:
    place = ["node.latitude=50", "node.longitude=8"]
    with pytest.raises(ConfigError, match=r"deterrent.0.quiet_hours") as caught:
        load(None, [*place, f'deterrent.0.quiet_hours="{hours}"'])
    assert "\n" not in str(caught.value)


def test_hours_by_the_sun_need_a_place_which_is_never_told() -> None:
    hours = 'deterrent.0.quiet_hours="sunset+30-sunrise-15"'
    for place in ([], ["node.latitude=50.123"], ["node.longitude=8.5"]):
        with pytest.raises(ConfigError, match=r"node.latitude and node.longitude"):
            load(None, [hours, *place])
    assert load(None, [hours, "node.latitude=50.123", "node.longitude=8.5"]).node.place == (50.123, 8.5)
    for wrong in ("node.latitude=95.123", "node.longitude=-180.123", "node.latitude=nan", "node.latitude='95.123 N'"):
        with pytest.raises(ConfigError) as caught:
            load(None, [wrong])
        assert ".123" not in str(caught.value)
    assert is_quiet("sunset-sunrise", datetime(2026, 6, 1, 12, tzinfo=UTC)), "nobody knows: then it is quiet"


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("deterrent.0.on_ms=0", "on_ms"),
        ("deterrent.0.on_ms=3600000", "on_ms"),
        ("deterrent.0.max_on_ms=3600000", "max_on_ms"),
        ("deterrent.0.max_on_ms=0", "max_on_ms"),
        ("deterrent.0.count=0", "count"),
        ("deterrent.0.off_ms=-1", "off_ms"),
        ("deterrent.0.rest_ms=0", "rest_ms"),
        ("deterrent.0.hour_s=0", "hour_s"),
        ("deterrent.0.hour_s=3601", "hour_s"),
        ("deterrent.0.cooldown_s=0", "cooldown_s"),
        ("deterrent.0.cooldown_s=nan", "cooldown_s"),
        ("deterrent.0.cooldown_s=-30", "cooldown_s"),
        ("deterrent.0.rung=-1", "rung"),
        ("policy.escalate_after_s=0", "escalate_after_s"),
        ("policy.escalate_after_s=inf", "escalate_after_s"),
        ("policy.person_veto_s=-1", "person_veto_s"),
        ("policy.order_valid_ms=3600000", "order_valid_ms"),
        ("policy.budget_ms=3600000", "budget_ms"),
        ("policy.per_day=-1", "per_day"),
    ],
)
def test_a_configuration_that_would_do_harm_is_refused_in_one_line(override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        load(None, [override])
    assert "\n" not in str(caught.value)


def test_siren_and_water_may_not_run_most_of_an_hour() -> None:
    for kind in ("siren", "water"):
        with pytest.raises(ConfigError, match="at most 600 in an hour"):
            load(None, [f"deterrent.0.kind={kind}", "deterrent.0.hour_s=601"])
    assert load(None, ["deterrent.0.hour_s=3600"]).deterrent[0].hour_s == 3600
