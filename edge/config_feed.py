"""The sections of the configuration that say who is told, of what, and how often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.config_base import Hours, Name, Section


class MqttConfig(Section):
    """MQTT 5, or 3.1.1 where the broker has no 5. On as soon as there is a host."""

    host: str = Field("", max_length=253, description="Broker; empty: none (on a desk, an embedded one)")
    port: int = Field(0, ge=0, le=65535, description="0: 8883 with TLS, 1883 without")
    tls: bool | None = Field(
        None, description="Unset: on, but for a broker on this machine. false: plain, also on a LAN"
    )
    version: Literal["", "5", "3.1.1"] = Field("", description="Of MQTT; empty: 5, or 3.1.1 where the broker has no 5")
    ca: str = Field("", description="File of the certificate authority; empty: the system's")
    certificate: str = Field("", description="File of the client certificate, where the broker asks for one")
    key: str = Field("", description="File of its private key")
    user: str = Field("", description="User name")
    password_file: str = Field("", description="File holding the password")
    root: Annotated[str, Field(pattern=r"^[^#+/\x00]+(/[^#+/\x00]+)*$")] = Field(
        "gander", description="First of topics"
    )
    commands: bool = Field(True, description="Obey commands that come by MQTT")
    ignore_s: float = Field(5.0, ge=0.0, le=60.0, description="Commands are ignored for so long after connecting")
    late_s: float = Field(60.0, ge=1.0, le=86400.0, description="Older events go to event/late, not to event")
    max_age_h: float = Field(720.0, ge=1.0, le=87600.0, description="Older events are not sent any more")
    most: int = Field(100_000, ge=100, le=10**7, description="Most events that wait for the broker; the oldest go")
    images: bool = Field(True, description="Publish the last visitor's picture, where media.publish_people lets it")
    discovery: bool = Field(True, description="Have Home Assistant find the appliance; false takes it out again")
    discovery_prefix: Annotated[str, Field(pattern=r"^[^#+/\x00]+(/[^#+/\x00]+)*$")] = Field(
        "homeassistant", description="First of the topics Home Assistant looks at"
    )

    @model_validator(mode="after")
    def _pairs(self) -> MqttConfig:
        if self.password_file and not self.user:
            raise ValueError("user: a password_file needs one")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key: give both, or neither")
        if not self.secure and (self.ca or self.certificate):
            raise ValueError("tls: ca and certificate are of no use without it; set tls = true")
        return self

    @property
    def local(self) -> bool:
        """Whether the broker is on this machine."""
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")

    @property
    def secure(self) -> bool:
        return not self.local if self.tls is None else self.tls

    @property
    def service(self) -> int:
        """The port that is meant."""
        return self.port or (8883 if self.secure else 1883)


class JsonlConfig(Section):
    path: str = Field("", description="File every event is appended to, one JSON object a line; empty: none")
    max_mb: int = Field(100, ge=1, le=10**5, description="Beyond, the file is kept once as FILE.1 and begun anew")


class PostsConfig(Section):
    """What people are told, and how often: what [x] and each [[notify]] share."""

    kinds: list[Literal["threat", "resident", "person", "other"]] = Field(
        ["threat"], description="Visits of these kinds are told, one post a visit"
    )
    labels: list[str] = Field(["*"], description="Globs over the labels that are told")
    problems: bool = Field(False, description="Tell also what is wrong with the appliance, and that it is over")
    digest: Literal["", "daily", "weekly"] = Field("", description="Tell the day, or on Mondays the week, in one post")
    digest_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = Field(
        "20:00", description="When the digest is told"
    )
    quiet_hours: Hours = Field("", description='Nothing is told then, but after: "22:00-07:00", "sunset-sunrise"')
    per_hour: int = Field(4, ge=1, le=1000, description="Most posts in an hour; what is more waits, and becomes one")
    per_day: int = Field(20, ge=1, le=10000, description="Most posts in 24 hours")
    max_age_h: float = Field(48.0, ge=0.1, le=8760.0, description="What could not be told for so long is dropped")
    most: int = Field(500, ge=1, le=10000, description="Most visits that wait to be told; beyond, the oldest go")
    picture: bool = Field(True, description="With the picture, where media.publish_people lets it")


class XConfig(PostsConfig):
    """X (Twitter). Every post costs money."""

    enabled: bool = Field(False, description="Post to X")
    credentials: str = Field("", description="File with the four keys of the app and the account, as TOML; mode 0600")
    per_hour: int = Field(2, ge=1, le=100, description="Most posts in an hour; what is more waits, and becomes one")
    per_day: int = Field(5, ge=1, le=1000, description="Most posts in 24 hours")
    dollars_a_month: float = Field(3.0, ge=0.0, le=10000.0, description="Most dollars spent in a calendar month")
    price: float = Field(0.015, ge=0.0, le=100.0, description="Dollars a post costs")
    price_with_url: float = Field(0.20, ge=0.0, le=100.0, description="Dollars a post with a URL costs")
    price_picture: float = Field(0.005, ge=0.0, le=100.0, description="Dollars a picture costs on top")
    urls: bool = Field(False, description="Let a post hold a URL; else it is taken out")

    @model_validator(mode="after")
    def _can_enter(self) -> XConfig:
        if self.enabled and not self.credentials:
            raise ValueError("credentials: name the file with the four keys, or leave enabled = false")
        return self


class NotifyConfig(PostsConfig):
    """A phone, a chat, a mailbox: whatever Apprise knows."""

    name: Name = Field("phone", description="Of this one, as `gander publish --test` has it")
    urls_file: str = Field("", description="File with Apprise's addresses, one a line; they hold secrets: mode 0600")
    problems: bool = Field(True, description="Tell also what is wrong with the appliance, and that it is over")

    @model_validator(mode="after")
    def _named(self) -> NotifyConfig:
        if self.name in ("mqtt", "jsonl", "x"):
            raise ValueError(f"name: {self.name} is another sink's; take a name of its own")
        if not self.urls_file:
            raise ValueError("urls_file: name the file with Apprise's addresses, one a line")
        return self
