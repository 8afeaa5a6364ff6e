"""The configuration: one pydantic model per section, bounds beside each field, an unknown key is an error."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from edge.config_base import Fraction, Hours, Name, Polygon, Section
from edge.config_feed import JsonlConfig, MqttConfig, NotifyConfig, XConfig
from edge.hours import parse, uses_sun

MOST_HARM_S = 600.0


class NodeConfig(Section):
    name: Name = Field("gander", description="Name of this appliance in every event and topic")
    state: str = Field(
        "", description="Folder of the journal, pictures and models; empty: the service's, else in your home"
    )
    # Where somebody lives: in no event and no log.
    latitude: float | None = Field(None, ge=-90.0, le=90.0, description="Degrees, north is positive: for quiet hours")
    longitude: float | None = Field(None, ge=-180.0, le=180.0, description="Degrees, east is positive")

    @property
    def place(self) -> tuple[float, float] | None:
        """Latitude and longitude."""
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


class CameraConfig(Section):
    id: Name = Field("cam", description="Short name of the camera, in every event")
    source: str = Field(
        "synthetic:day",
        min_length=1,
        description="picamera, /dev/video0, rtsp://…, http://… (MJPEG), a clip, a folder of pictures, synthetic:SCENE",
    )
    credentials: str = Field(
        "", description="File of a network camera's user:password; never in source ({user}, {password} may stand there)"
    )
    fps: float = Field(15.0, ge=0.2, le=60.0, description="Pictures per second")
    size: tuple[int, int] = Field((1280, 720), description="Width and height, where the source can choose")
    rotate: Literal[0, 90, 180, 270] = Field(0, description="Degrees to turn the picture by, clockwise")
    stale_s: float = Field(5.0, ge=1.0, le=120.0, description="A live camera silent for so long is opened again")
    lag_s: float = Field(
        0.0, ge=0.0, le=10.0, description="So late its pictures come (network cameras): they show a deterrent as long"
    )
    zones: list[Polygon] = Field([], description="Polygons (x, y in 0..1) where motion counts; none: everywhere")
    masks: list[Polygon] = Field([], description="Privacy masks: painted black before anything else sees the picture")

    @property
    def shown(self) -> str:
        """The source as it may be said aloud: cameras take passwords in their query, too."""
        if "://" not in self.source:
            return self.source
        return re.sub(r"://.*@", "://", self.source.partition("?")[0])

    @property
    def local(self) -> bool:
        """Whether it is on this machine, if it is a camera at all: then restarting this machine may mend it."""
        return "://" not in self.source

    @model_validator(mode="after")
    def _size(self) -> CameraConfig:
        if not all(64 <= side <= 8192 for side in self.size):
            raise ValueError("size: width and height must each be 64 to 8192")
        if re.match(r"[a-z][a-z0-9+.-]*://[^/]*:[^/]*@", self.source):
            raise ValueError("source: no password here; put user:password into a file and name it as credentials")
        return self


class MotionConfig(Section):
    threshold: int = Field(15, ge=4, le=128, description="Least change of brightness (of 255), beside the noise")
    min_area: float = Field(
        0.0004, gt=0.0, le=0.5, description="Least area of a moving thing, as a fraction of the picture"
    )
    whole_frame: Fraction = Field(0.5, description="When this share changes at once it is the light")


class VisitConfig(Section):
    gap_s: float = Field(3.0, ge=0.2, le=60.0, description="A visitor unseen for this long has left")
    cap_s: float = Field(120.0, ge=5.0, le=3600.0, description="A visit is closed after this long, and a new one begun")
    max_open: int = Field(12, ge=1, le=64, description="Most visitors followed at once")


class LabelsConfig(Section):
    """Which labels are what; globs; first match wins; all empty: the bundle's own suggestion."""

    threat: list[str] = Field([], description='Globs over the labels of what must leave, e.g. ["Corvus *", "fox"]')
    resident: list[str] = Field([], description="Globs over the labels of who lives here")
    person: list[str] = Field([], description="Globs over the labels of people")


class ModelsConfig(Section):
    champion: str = Field("", description="Bundle trusted first: a name or a file; empty: the one promoted last")
    standby: str = Field(
        "",
        description="Small fast bundle, trusted while the champion is late or dead; empty: none",
    )
    deadline_ms: int = Field(400, ge=20, le=5000, description="An answer counts until this long after the frame")
    threads: int = Field(0, ge=0, le=16, description="Threads of the champion; 0: what the standby leaves of the cores")
    standby_threads: int = Field(1, ge=1, le=16, description="Threads of the standby")
    trusted_keys: list[str] = Field([], description="Files of public keys whose bundles are accepted")
    allow_unsigned: bool = Field(False, description="Accept bundles without a signature (for a desk)")


class EvidenceConfig(Section):
    half_life_s: float = Field(1.0, gt=0.0, le=60.0, description="Evidence loses half its weight in this time")
    prior: float = Field(0.05, gt=0.0, lt=1.0, description="Chance that a visitor is a threat before anything is known")
    prior_weight: float = Field(1.0, ge=0.0, le=100.0, description="How many frames the prior weighs")
    clamp_low: float = Field(-3.0, ge=-20.0, lt=0.0, description="Least log-odds one frame can give")
    clamp_high: float = Field(4.0, gt=0.0, le=20.0, description="Most log-odds one frame can give")
    min_frames: int = Field(2, ge=1, le=100, description="Distinct frames that must each speak for a threat")
    person_p: float = Field(0.3, gt=0.0, le=1.0, description="A person is seen at this probability in any crop")
    cost_false: float = Field(1.0, gt=0.0, le=1000.0, description="Cost of scaring a friend")
    cost_miss: float = Field(4.0, gt=0.0, le=1000.0, description="Cost of missing a threat")


class PolicyConfig(Section):
    initial_mode: Literal["observe", "armed", "maintenance"] = Field("observe", description="Mode when first started")
    budget_ms: int = Field(1000, ge=50, le=10000, description="Glass to order: older news is not acted upon")
    order_valid_ms: int = Field(500, ge=50, le=2000, description="An order not carried out by then is void")
    person_veto_s: float = Field(60.0, ge=0.0, le=3600.0, description="Nothing fires for so long after a person")
    per_visit: int = Field(6, ge=0, le=100, description="Most actions in one visit")
    per_hour: int = Field(20, ge=0, le=1000, description="Most actions in an hour")
    per_day: int = Field(100, ge=0, le=10000, description="Most actions in a day")
    escalate_after_s: float = Field(
        5.0, ge=1.0, le=600.0, description="Between two actions in one visit: who is still there gets the next rung"
    )
    settle_s: float = Field(0.5, ge=0.0, le=10.0, description="After a pulse the picture is given this long to settle")


class DeterrentConfig(Section):
    id: Name = Field("light", description="Name of the deterrent, in every action")
    kind: Literal["light", "siren", "water", "servo", "relay"] = Field("light", description="What it does")
    enabled: bool = Field(True, description="False: never fires")
    rung: int = Field(
        0, ge=0, le=9, description="Of the ladder, lowest first; 0: light, servo, relay 1, siren 2, water 3"
    )
    cameras: list[Name] = Field([], description="Ids of the cameras it answers; none: all of them")
    channel: int = Field(0, ge=0, le=7, description="Channel of the controller")
    pin: int = Field(17, ge=0, le=27, description="GPIO (BCM number) of the channel, for the guard on this Pi")
    active_high: bool = Field(True, description="False: the relay board switches on when the pin is low")
    on_ms: int = Field(400, ge=10, le=5000, description="Length of one flash of the pattern")
    off_ms: int = Field(200, ge=0, le=5000, description="Pause between two flashes")
    count: int = Field(3, ge=1, le=50, description="Flashes in the pattern")
    max_on_ms: int = Field(5000, ge=10, le=5000, description="The controller ends any pulse after this long")
    rest_ms: int = Field(1000, ge=100, le=600000, description="The controller lets the channel rest for so long")
    hour_s: float = Field(
        60.0, ge=1.0, le=3600.0, description="The controller has it on for at most so long in an hour"
    )
    cooldown_s: float = Field(30.0, ge=1.0, le=86400.0, description="Rest between two actions")
    near_residents: Literal["fire", "hold", ""] = Field(
        "", description="While a resident is in the picture; empty: light, servo, relay fire, siren and water hold"
    )
    quiet_hours: Hours | None = Field(
        None,
        description='No action then: "22:00-07:00", or by node.latitude and longitude "sunset-sunrise", '
        '"sunset+30-sunrise-15" (minutes); unset: "22:00-07:00" for a siren; "": none',
    )

    fires_unseeing: bool = Field(
        False, description="Let siren or water fire although the model cannot see people (it has no label for them)"
    )

    @model_validator(mode="after")
    def _bounded(self) -> DeterrentConfig:
        length = self.count * self.on_ms + (self.count - 1) * self.off_ms
        if length > self.max_on_ms:
            raise ValueError(
                f"the pattern of {self.id!r} lasts {length} ms, longer than max_on_ms = {self.max_on_ms}: "
                "lower count, on_ms or off_ms"
            )
        if self.harms and self.hour_s > MOST_HARM_S:
            raise ValueError(
                f"hour_s = {self.hour_s:g} of {self.id!r}: siren and water at most {MOST_HARM_S:g} in an hour"
            )
        return self

    @property
    def step(self) -> int:
        """Which rung of the ladder it is on."""
        return self.rung or {"siren": 2, "water": 3}.get(self.kind, 1)

    @property
    def harms(self) -> bool:
        """Whether it could hurt or frighten somebody."""
        return self.kind in ("siren", "water")

    @property
    def holds_near_residents(self) -> bool:
        return (self.near_residents or ("hold" if self.harms else "fire")) == "hold"

    @property
    def quiet(self) -> str:
        if self.quiet_hours is None:
            return "22:00-07:00" if self.kind == "siren" else ""
        return self.quiet_hours


class ControllerConfig(Section):
    kind: Literal["dry", "guard", "serial"] = Field(
        "dry", description="dry: nothing moves; guard: this Pi's own pins; serial: a Pico with Gander's firmware"
    )
    port: str = Field(
        "", description="Serial port of the Pico, as /dev/ttyACM0 or /dev/serial0; empty: found by itself"
    )
    # At 1200 a Pico leaves its program for the boot loader.
    baud: int = Field(115200, ge=57600, le=4_000_000, description="Speed of a serial port that has one (UART)")
    patience_ms: int = Field(60, ge=5, le=1000, description="How long the loop waits for the controller's word")


class JournalConfig(Section):
    queue: int = Field(2000, ge=100, le=100000, description="Records that may wait for a slow card")
    days: int = Field(400, ge=7, le=36500, description="Events are kept so long; those of labelled visits for ever")


class MediaConfig(Section):
    per_visit: int = Field(3, ge=0, le=20, description="Most moments of one visit kept as pictures")
    queue: int = Field(8, ge=1, le=64, description="Pictures that may wait for a slow card, each in memory")
    quality: int = Field(85, ge=30, le=100, description="JPEG quality")
    max_mb: int = Field(2000, ge=10, le=10**7, description="Most megabytes of pictures; beyond, the oldest go first")
    days: int = Field(30, ge=1, le=36500, description="Pictures are kept so long; labelled ones for ever")
    person_hours: float = Field(24.0, ge=0.0, le=8760.0, description="Pictures with a person are kept so long")
    publish_people: bool = Field(False, description="Let pictures with a person leave this machine")
    per_day_mb: int = Field(300, ge=1, le=10**6, description="Most megabytes of pictures written in a day")
    decoy_mb: int = Field(100, ge=0, le=10**6, description="Exact pictures the models were shown, for judging others")
    min_free: Fraction = Field(0.15, description="Share of the disk that stays free: below it no picture is saved")


class HealthConfig(Section):
    """What Gander does when a camera of this machine (no network camera) hangs that worked before."""

    service: bool = Field(False, description="Restart and reboot also where no systemd started it: something else must")
    climb_after_s: float = Field(600.0, ge=1.0, le=86400.0, description="Silence before each of these steps")
    restarts: int = Field(2, ge=0, le=10, description="Most restarts of Gander in 6 hours; then a reboot is asked for")
    reboots: int = Field(3, ge=0, le=3, description="Most reboots in 7 days, at least 6 hours apart; 0: none")


class Config(Section):
    """The whole of `gander.toml`."""

    node: NodeConfig = NodeConfig()
    camera: list[CameraConfig] = Field([CameraConfig()], min_length=1, max_length=8)
    motion: MotionConfig = MotionConfig()
    visits: VisitConfig = VisitConfig()
    labels: LabelsConfig = LabelsConfig()
    models: ModelsConfig = ModelsConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    policy: PolicyConfig = PolicyConfig()
    deterrent: list[DeterrentConfig] = Field([DeterrentConfig()], max_length=8)
    controller: ControllerConfig = ControllerConfig()
    journal: JournalConfig = JournalConfig()
    media: MediaConfig = MediaConfig()
    health: HealthConfig = HealthConfig()
    mqtt: MqttConfig = MqttConfig()
    jsonl: JsonlConfig = JsonlConfig()
    x: XConfig = XConfig()
    notify: list[NotifyConfig] = Field([], max_length=16)

    @model_validator(mode="after")
    def _distinct(self) -> Config:
        for what, values in (
            ("camera.id", [c.id for c in self.camera]),
            ("deterrent.id", [d.id for d in self.deterrent]),
            ("deterrent.channel", [d.channel for d in self.deterrent]),
            ("notify.name", [n.name for n in self.notify]),
            ("deterrent.pin", [d.pin for d in self.deterrent if self.controller.kind != "serial"]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"{what}: each must be given once, got {values}")
        cameras = {c.id for c in self.camera}
        for deterrent in self.deterrent:
            if unknown := [name for name in deterrent.cameras if name not in cameras]:
                there = ", ".join(sorted(cameras))
                raise ValueError(f"deterrent {deterrent.id!r}: there is no camera {unknown[0]!r}; there are {there}")
        if sunny := [d.id for d in self.deterrent if d.quiet and uses_sun(*parse(d.quiet)) and not self.node.place]:
            raise ValueError(
                f"deterrent {sunny[0]!r}: quiet hours by the sun need node.latitude and node.longitude, in degrees"
            )
        for sink in (self.x, *self.notify):
            if sink.quiet_hours and uses_sun(*parse(sink.quiet_hours)) and not self.node.place:
                raise ValueError("quiet_hours by the sun need node.latitude and node.longitude, in degrees")
        if self.models.deadline_ms >= self.policy.budget_ms:
            raise ValueError(
                f"models.deadline_ms = {self.models.deadline_ms} must be below policy.budget_ms = "
                f"{self.policy.budget_ms}: the slowest answer would be too old to act upon"
            )
        return self
