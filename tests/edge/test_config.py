"""The configuration: what is wrong is said in one line, before anything starts."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edge.cli_common import service_state
from edge.config import Config
from edge.config_file import example, load, state_directory
from edge.errors import ConfigError


def test_the_example_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "gander.toml"
    file.write_text(example())
    assert load(file) == Config()
    assert {"node", "camera", "deterrent"} <= set(tomllib.loads(example()))


def test_overrides_reach_any_value() -> None:
    config = load(None, ['labels.threat=["Corvus *"]', "deterrent.0.pin=4", "deterrent.1.id=siren", "deterrent.1.pin=5",
                         "deterrent.1.channel=1", "deterrent.1.kind=siren", "policy.initial_mode=armed"])  # fmt: skip
    assert config.labels.threat == ["Corvus *"]
    assert [(d.id, d.pin, d.quiet, d.holds_near_residents) for d in config.deterrent] == [
        ("light", 4, "", False),
        ("siren", 5, "22:00-07:00", True),
    ]


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("motion.nonsense=1", "motion.nonsense: unknown key"),
        ("nonsense.key=1", "nonsense: unknown key"),
        ("motion.threshold=1", "motion.threshold: Input should be greater"),
        ("motion.threshold='much'", "valid integer"),
        ("camera.0.fps=nan", "camera.0.fps"),
        ("camera.0.size=[10,10]", "64 to 8192"),
        ("camera.5.fps=1", "no entry 5"),
        ("camera.x.fps=1", "camera: Input should be a valid list"),
        ("camera.0=1", "name a key inside entry 0"),
        ("node.name.x=1", "node.name"),
        ("deterrent.0.on_ms=0", "greater than or equal to 10"),
        ("deterrent.0.max_on_ms=3600000", "less than or equal to 5000"),
        ("deterrent.0.count=20", "lower count"),
        ("deterrent.0.quiet_hours='25:00-07:00'", "22:00-07:00"),
        ("deterrent.0.quiet_hours='١٢:٠٠-١٣:٠٠'", "22:00-07:00"),
        ("models.deadline_ms=1500", "must be below policy.budget_ms"),
        ("node.name='Hen House'", "node.name"),
        ("threshold", "section.key=value"),
        ("x=" + "[" * 3000, "nested too deeply"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(override: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[node", "not TOML"),
        (b"\xff\xfe", "cannot be read as text"),
        (b'[[deterrent]]\nid="a"\n[[deterrent]]\nid="a"', "once"),
        (b"[node]\nname = 3", "valid string"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "gander.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        load(file)
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("told", "configured", "of_service", "where"),
    [
        ("/told", "", "/service", "/told"),
        ("", "/service", "/service", "/service"),
        ("", "", "/service", "/service"),
        ("/told", "/configured", "", "/told"),
        ("", "/configured", "", "/configured"),
        ("", "", "", "/home/gander"),
    ],
)
def test_where_the_state_is(
    monkeypatch: pytest.MonkeyPatch, told: str, configured: str, of_service: str, where: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/home")
    config = load(None, [f"node.state={configured}"])
    service = Path(of_service) if of_service else None
    assert state_directory(config, Path(told) if told else None, service) == Path(where)


def test_a_verb_means_the_same_place_as_the_service() -> None:
    assert service_state(Path("/etc/gander/gander.toml")) == Path("/var/lib/gander")
    assert service_state(Path("/etc/gander/nest.toml")) == Path("/var/lib/gander-watch-nest")
    assert service_state(Path("gander.toml")) is None
    assert service_state(None) is None
    copied = load(None, ["node.state=/var/lib/gander"])
    of_service = service_state(Path("/etc/gander/nest.toml"))
    with pytest.raises(ConfigError, match=r"its service keeps it in /var/lib/gander-watch-nest, got /var/lib/gander;"):
        state_directory(copied, None, of_service)
    assert state_directory(copied, of_service, of_service) == of_service, "the daemon itself goes on"
