"""The controller's rules, over random histories: the test restates them by itself and compares at every millisecond."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.deterrent import BAD_LINES, MASK, ORDER_MS, REST_MS, SILENCE_MS, Deterrent, Limits, ticks_diff
from firmware.wire import seal, unseal

LIMITS = {0: 600, 3: 1500}
SESSION = "5e551047"


@dataclass
class Host:
    """Talks to one controller that is stepped exactly when it asks for it, and watches the outputs all the time."""

    start: int = 0
    now: int = 0  # ms since the start, does not wrap
    seq: int = 0
    used: int = 0
    bad: int = 0
    alive_at: int = 0
    armed: bool = False
    sent: list[bytes] = field(default_factory=list)
    allowed: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: {n: [] for n in LIMITS})
    lit: dict[int, list[list[int]]] = field(default_factory=lambda: {n: [] for n in LIMITS})
    said: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        limits = {n: Limits(ms, 3_600_000, REST_MS) for n, ms in LIMITS.items()}
        self.controller = Deterrent(limits, SESSION, (self.tick - REST_MS) & MASK)
        self.controller.switch(True, self.tick)
        self.controller.step(self.tick)

    @property
    def tick(self) -> int:
        return (self.start + self.now) & MASK

    def wait(self, ms: int) -> None:
        end = self.now + ms
        while True:
            due = self.controller.due(self.tick)
            assert due != 0, "what is due is done: a guard that sleeps until then must not spin"
            if due < 0 or self.now + due > end:
                break
            self.now += due
            self.hear(self.controller.step(self.tick))
        self.now = end
        self.hear(self.controller.step(self.tick))

    def say(self, text: str, line: bytes | None = None) -> list[str]:
        """Send words (or a line sent before) and return the answer to them."""
        line = line or seal(text)[:-1]
        self.sent.append(line)
        answers = self.hear(self.controller.handle(line, self.tick))
        return next(a for a in answers if a[0] in ("OK", "NO"))

    def noise(self, line: bytes | None) -> None:
        self.bad += 1
        if self.bad >= BAD_LINES:
            self.dark()
        self.hear(self.controller.handle(line, self.tick))

    def order(self, verb: str) -> list[str]:
        """PING or ARM 1."""
        self.seq += 1
        answer = self.say(f"{self.seq} {verb}")
        assert answer[:2] == ["OK", str(self.seq)]
        self.used, self.bad, self.alive_at = self.seq, 0, self.now
        self.armed = self.armed or verb == "ARM 1"
        return answer

    def dark(self) -> None:
        """From now on nothing is allowed that was."""
        self.armed = False
        self.allowed = {n: [(a, min(b, self.now)) for a, b in spans] for n, spans in self.allowed.items()}

    def hear(self, lines: list[bytes]) -> list[list[str]]:
        if self.armed and self.now - self.alive_at >= SILENCE_MS:
            self.dark()
        answers = [unseal(line[:-1]) or [] for line in lines]
        assert all(answers), "every answer is sealed"
        self.said += answers
        for channel, on in self.controller.outputs():
            spans = self.lit[channel]
            if on and (not spans or spans[-1][1] >= 0):
                spans.append([self.now, -1])
            elif not on and spans and spans[-1][1] < 0:
                spans[-1][1] = self.now
            if on:
                assert any(a <= self.now < b for a, b in self.allowed[channel]), "on without a fresh order"
                assert self.armed
        return answers

    def pulse(
        self, channel: int, on: int, off: int, count: int, age: int = 0, session: str = SESSION, again: bool = False
    ) -> list[str]:
        self.seq += not again
        length = count * on + (count - 1) * off
        valid = self.armed and self.now - self.alive_at < SILENCE_MS and session == SESSION and self.seq > self.used
        limit = LIMITS.get(channel, 0)
        valid = valid and 0 <= age <= ORDER_MS and length <= limit and off <= limit and on > 0 and count > 0
        spans = self.allowed.get(channel, [])
        if valid:
            spans.append((self.now, self.now + length))
        words = f"{self.seq} PULSE {session} {(self.tick - age) & MASK} {channel} {on} {off} {count}"
        answer = self.say(words)
        self.bad = 0
        if session == SESSION:
            self.used = max(self.used, self.seq)
        if answer[0] == "OK":
            assert valid, "accepted what must be refused"
            self.alive_at = self.now
        elif valid:
            assert answer[2] == "rest"
            spans.pop()
        return answer

    def finish(self) -> None:
        """Silence to the end, then judge how long the outputs were on."""
        self.wait(10_000)
        assert not any(on for _, on in self.controller.outputs())
        for channel, spans in self.lit.items():
            joined: list[list[int]] = []
            for begin, end in spans:
                if joined and begin - joined[-1][1] < REST_MS:
                    joined[-1][1] = end
                else:
                    joined.append([begin, end])
            assert all(end - begin <= LIMITS[channel] for begin, end in joined), "longer than the maximum"


channels = st.sampled_from([0, 3, 0, 3, 1])
ms = st.integers(0, 700)
fresh_pulse = st.tuples(st.just("pulse"), channels, st.integers(1, 400), st.integers(0, 150), st.integers(1, 4))
any_pulse = st.tuples(
    st.just("pulse"),
    channels,
    ms,
    ms,
    st.integers(0, 5),
    st.integers(-600, 900),
    st.sampled_from([SESSION, "0"]),
    st.booleans(),
)
step = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 900) | st.sampled_from([1, 99, 100, 500, 501, 1999, 2000, 2500])),
    st.tuples(st.just("PING")),
    st.tuples(st.just("ARM 1")),
    fresh_pulse,
    fresh_pulse,
    any_pulse,
    st.tuples(st.just("OFF")),
    st.tuples(st.just("ARM 0")),
    st.tuples(st.just("replay"), st.integers(0, 50)),
    st.tuples(st.just("noise"), st.binary(max_size=60) | st.none()),
)


def take(host: Host, name: str, *arguments: object) -> None:
    if name == "wait":
        host.wait(*arguments)  # type: ignore[arg-type]
    elif name == "pulse":
        host.pulse(*arguments)  # type: ignore[arg-type]
    elif name in ("PING", "ARM 1"):
        host.order(name)
    elif name in ("OFF", "ARM 0"):
        armed = host.armed
        host.dark()
        host.armed = armed and name == "OFF"
        assert host.say(f"{host.seq} {name}")[0] == "OK"
        host.bad = 0
        assert not any(on for _, on in host.controller.outputs())
    elif name == "replay" and host.sent:
        line = host.sent[arguments[0] % len(host.sent)]  # type: ignore[operator]
        before, words = host.controller.outputs(), unseal(line) or []
        if words[1] in ("PULSE", "PING") or words[1:] == ["ARM", "1"]:
            assert host.say("", line)[:1] == ["NO"]
            host.bad = 0
            assert [on for _, on in host.controller.outputs()] <= [on for _, on in before]
    elif name == "noise":
        host.noise(arguments[0])  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([0, 12345, MASK - 700, MASK >> 1]), st.lists(step, max_size=40))
def test_any_history(start: int, history: list[tuple[object, ...]]) -> None:
    host = Host(start)
    for name, *arguments in history:
        take(host, str(name), *arguments)
    host.finish()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0, MASK - 700]), st.lists(st.one_of(fresh_pulse, st.tuples(st.just("wait"), ms)), max_size=40))
def test_any_pulses_of_a_living_host(start: int, history: list[tuple[object, ...]]) -> None:
    host = Host(start)
    host.order("ARM 1")
    for name, *arguments in history:
        take(host, str(name), *arguments)
        host.order("PING")
    host.finish()


@given(st.lists(st.binary(max_size=80), max_size=30))
def test_noise_turns_nothing_on(noise: list[bytes]) -> None:
    controller = armed().controller
    controller.handle(seal("1 ARM 1")[:-1], 0)
    for line in noise:
        controller.handle(line, 10)
        assert not any(on for _, on in controller.outputs())


def armed() -> Host:
    host = Host()
    host.order("ARM 1")
    return host


def test_a_pattern_is_carried_out_to_the_millisecond() -> None:
    host = armed()
    host.wait(7)
    assert host.pulse(3, 200, 50, 3)[0] == "OK"
    assert host.said[-1] == ["ON", "3", "7"]
    host.wait(1400)
    assert host.lit[3] == [[7, 207], [257, 457], [507, 707]]
    assert host.said[-1] == ["DONE", "3", "600"]


def test_nothing_before_arm() -> None:
    assert Host().pulse(0, 100, 0, 1)[2] == "disarmed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session": "00000000"}, "session"),
        ({"age": 501}, "old"),
        ({"age": -1}, "future"),
        ({"channel": 1}, "channel"),
        ({"on": 601}, "pattern"),
        ({"on": 0}, "pattern"),
        ({"count": 0}, "pattern"),
        ({"on": 300, "off": 1, "count": 2}, "pattern"),
        ({"count": 1_000_000_000}, "pattern"),
    ],
)
def test_refusals(change: dict[str, int | str], reason: str) -> None:
    order = {"channel": 0, "on": 100, "off": 0, "count": 1} | change
    assert armed().pulse(**order) == ["NO", "2", reason]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["9 PULSE", f"9 PULSE {SESSION}", f"9 PULSE {SESSION} 0 0 1 1 -1", "9 ARM", "9 ARM 2"])
def test_broken_arguments(text: str) -> None:
    assert armed().say(text)[::2] in (["NO", "arguments"], ["NO", "session"])


def test_a_second_pulse_does_not_begin_the_maximum_anew() -> None:
    host = armed()
    host.pulse(0, 400, 0, 1)
    host.wait(300)
    host.pulse(0, 500, 0, 1)
    host.wait(1000)
    assert host.lit[0] == [[0, 600]]
    assert [a for a in host.said if a[0] == "DONE"] == [["DONE", "0", "300"], ["DONE", "0", "300"]]


def test_silence_disarms() -> None:
    host = armed()
    host.pulse(3, 100, 0, 1)
    host.wait(SILENCE_MS)
    assert not host.controller.armed
    assert host.pulse(3, 100, 0, 1)[2] == "disarmed"


def test_two_broken_lines_are_forgiven_and_three_are_not() -> None:
    host = armed()
    host.pulse(3, 1000, 0, 1)
    host.noise(b"x")
    host.noise(None)
    host.order("PING")
    host.noise(b"x")
    host.noise(b"x")
    assert dict(host.controller.outputs())[3]
    host.noise(b"x")
    assert not dict(host.controller.outputs())[3]
    assert not host.controller.armed


def test_its_own_answers_coming_back_arm_nothing() -> None:
    controller = Host().controller
    lines = [controller.greeting(0)]
    for tick in range(50):
        lines = [answer for line in lines for answer in controller.handle(line[:-1], tick)]
        assert not controller.armed


def test_off_from_anyone() -> None:
    host = armed()
    host.pulse(3, 1000, 0, 1)
    assert host.say("0 OFF wrong-session")[0] == "OK"
    assert not dict(host.controller.outputs())[3]
    assert host.controller.armed


@given(st.integers(0, MASK), st.integers(-(1 << 29), (1 << 29) - 1))
def test_ticks_wrap(tick: int, ms: int) -> None:
    assert ticks_diff((tick + ms) & MASK, tick) == ms


def test_refused_orders_are_no_sign_of_life() -> None:
    host = armed()
    for _ in range(21):
        host.wait(100)
        reason = host.pulse(0, 9999, 0, 1)[2]
    assert reason == "disarmed"


def test_a_controller_that_was_late_itself_judges_by_the_clock_and_not_by_what_it_last_knew() -> None:
    host = armed()
    host.pulse(3, 1500, 0, 1)
    host.order("PING")
    host.now += SILENCE_MS  # nobody called `step`
    host.seq += 1
    line = seal(f"{host.seq} PING")[:-1]
    answers = [unseal(answer[:-1]) for answer in host.controller.handle(line, host.tick)]
    assert answers == [["DONE", "3", "2000"], ["OK", str(host.seq), str(host.tick), "0", "0"]]
