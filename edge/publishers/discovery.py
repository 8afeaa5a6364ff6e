"""What Home Assistant is told to make of the appliance: one device, its entities, and which of them are gone. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge import feed

EVENT_TYPES = (
    "visit_started",
    "visit",
    "action",
    "suppressed",
    "test_fire",
    "command",
    "health",
    "model",
    "dropped",
)
PAUSE_S = 3600
_OF_EVENT = ("id", "wall", "camera", "reason", "picture", "who", "command", "answer", "what")
_OF_VISIT = ("label", "kind", "p", "actions", "started", "ended")
Component = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Appliance:
    """What there is to be found. `base`: of its topics, without a slash at the end.

    `cameras`, `deterrents`: their ids; `counted`: the `count/…` topics; `images`: whether pictures are published;
    `commands`: whether they are obeyed.
    """

    node: str
    base: str
    version: str
    cameras: tuple[str, ...] = ()
    deterrents: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    images: bool = True
    commands: bool = True

    @property
    def id(self) -> str:
        return f"gander_{self.node}"


def topic(prefix: str, node: str) -> str:
    """Where the device is announced, retained."""
    return f"{prefix}/device/gander_{node}/config"


def announcement(there: Appliance, before: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The payload for `topic`. `before`: platforms of all that was ever announced, by key.

    What of that is there no more is named with its platform alone, which has Home Assistant take it out.
    """
    found = components(there)
    gone = {key: {"p": platform} for key, platform in (before or {}).items() if key not in found}
    return {
        "dev": {
            "ids": [there.id],
            "name": "Gander" if there.node == "gander" else f"Gander {there.node}",
            "mf": "Gander",
            "mdl": "Gander",
            "sw": there.version,
        },
        "o": {"name": "gander", "sw": there.version},
        "availability": [{"topic": f"{there.base}/availability"}],
        "cmps": gone | found,
    }


def components(there: Appliance) -> dict[str, Component]:
    """Every entity by its key, which never changes its meaning."""
    found = {"event": _event(there), **_binary_sensors(), **_sensors(), "model": _update(there)}
    if there.images:
        found["picture"] = {"p": "image", "name": "Picture", "image_topic": "image/last"}
        found["picture"] |= {"content_type": "image/jpeg"}
    for camera in there.cameras:
        found[f"camera_{camera}"] = _camera(camera)
    for count in there.counted:
        found[_key(count)] = _count(count)
    if there.commands:
        found |= _commands(there.deterrents)
    return {key: _whole(there, key, component) for key, component in found.items()}


def _whole(there: Appliance, key: str, component: Component) -> Component:
    """With the identity that outlives renaming, and topics as the broker has them."""
    topics = {name: f"{there.base}/{value}" for name, value in component.items() if name.endswith("_topic")}
    return component | topics | {"unique_id": f"{there.id}_{key}", "qos": 1}


def _event(there: Appliance) -> Component:
    """Automations want it flat: what is nested in our event is an attribute of its own."""
    flat = ", ".join(f"{name}=value_json.get('{name}')" for name in _OF_EVENT)
    visit = ", ".join(f"{name}=visit.get('{name}')" for name in _OF_VISIT)
    template = (
        "{% set visit = value_json.get('visit') or {} %}"
        "{% set action = value_json.get('action') or {} %}"
        f"{{% if value_json.get('type') in {list(EVENT_TYPES)} %}}"
        f"{{{{ dict(event_type=value_json.type, base={there.base!r}, node=value_json.get('node'), "
        f"visit=visit.get('id'), {visit}, {flat}, "
        "deterrent=action.get('deterrent') or value_json.get('deterrent'), result=action.get('result'), "
        "onset_ms=(value_json.get('latency_ms') or {}).get('onset')) | to_json }}{% endif %}"
    )
    return {
        "p": "event",
        "name": "Event",
        "icon": "mdi:bird",
        "event_types": list(EVENT_TYPES),
        "state_topic": "event",
        "value_template": template,
    }


def _binary_sensors() -> dict[str, Component]:
    return {
        "motion": {"p": "binary_sensor", "name": "Motion", "device_class": "motion", "state_topic": "motion"},
        "problem": {
            "p": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": "status",
            "value_template": "{{ 'OFF' if value_json.healthy else 'ON' }}",
            "json_attributes_topic": "status",
            "json_attributes_template": "{{ dict(problems=value_json.get('problems', [])) | to_json }}",
        },
        "connectivity": {
            "p": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": "availability",
            "payload_on": "online",
            "payload_off": "offline",
            "availability": [],  # not the shared one: away is what it is there to tell
        },
    }


def _camera(camera: str) -> Component:
    return {
        "p": "binary_sensor",
        "name": f"Camera {camera}",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": "status",
        "value_template": f"{{{{ 'ON' if value_json.get('cameras', {{}}).get({camera!r}) else 'OFF' }}}}",
    }


def _sensors() -> dict[str, Component]:
    free = "value_json.get('disk_free')"
    return {
        "visitor": {
            "p": "sensor",
            "name": "Last visitor",
            "icon": "mdi:bird",
            "state_topic": "visitor/last",
            "value_template": "{{ value_json.name }}",
            "json_attributes_topic": "visitor/last",
        },
        "score": {
            "p": "sensor",
            "name": "Score",
            "icon": "mdi:percent",
            "unit_of_measurement": "%",
            "state_topic": "visitor/last",
            "value_template": "{{ (value_json.p * 100) | round(1) }}",
        },
        "onset": _figure("Onset latency p95", "value_json.get('latency_ms', {}).get('onset', {}).get('p95')", "ms")
        | {"device_class": "duration", "suggested_display_precision": 0},
        "queue": _figure("Queue", "value_json.get('queues', {}).values() | sum")
        | {
            "icon": "mdi:tray-full",
            "json_attributes_topic": "status",
            "json_attributes_template": "{{ dict(waiting=value_json.get('queues', {}), "
            "oldest_s=value_json.get('oldest_s', {})) | to_json }}",
        },
        "disk": _figure("Disk free", f"({free} / 1e9) | round(1) if {free} else none", "GB")
        | {"device_class": "data_size"},
        "temperature": _figure("Temperature", "value_json.get('temperature')", "°C") | {"device_class": "temperature"},
    }


def _figure(name: str, value: str, unit: str = "") -> Component:
    """A number of the `status` topic; unknown where that has none."""
    return {
        "p": "sensor",
        "name": name,
        "entity_category": "diagnostic",
        "state_class": "measurement",
        "state_topic": "status",
        "value_template": f"{{{{ {value} }}}}",
        **({"unit_of_measurement": unit} if unit else {}),
    }


def _count(count: str) -> Component:
    name = feed.who({"visit": {"label": count.removeprefix("count/")}})
    return {
        "p": "sensor",
        "name": f"{name[:1].upper()}{name[1:]} today",
        "icon": "mdi:counter",
        "state_class": "total",
        "state_topic": count,
    }


def _commands(deterrents: Iterable[str]) -> dict[str, Component]:
    found: dict[str, Component] = {
        "armed": {
            "p": "switch",
            "name": "Armed",
            "icon": "mdi:shield",
            "state_topic": "deterrent/armed",
            "command_topic": "deterrent/armed/set",
        },
        "mode": {
            "p": "select",
            "name": "Mode",
            "icon": "mdi:shield-half-full",
            "options": ["observe", "armed", "maintenance"],
            "state_topic": "mode",
            "command_topic": "mode/set",
        },
        "pause": {
            "p": "button",
            "name": "Pause one hour",
            "icon": "mdi:timer-pause",
            "command_topic": "pause/set",
            "payload_press": str(PAUSE_S),
        },
    }
    for deterrent in deterrents:
        found[f"test_{deterrent}"] = {
            "p": "button",
            "name": f"Test {deterrent}",
            "icon": "mdi:alarm-light",
            "entity_category": "config",
            "command_topic": "deterrent/test/set",
            "payload_press": deterrent,
        }
    return found


def _update(there: Appliance) -> Component:
    taken = "dict(installed_version=value_json.installed_version, latest_version=value_json.latest_version)"
    install = {"command_topic": "model/install/set", "payload_install": "INSTALL"} if there.commands else {}
    return {
        "p": "update",
        "name": "Model",
        "title": "Model",
        "entity_category": "config" if there.commands else "diagnostic",
        "state_topic": "model/state",
        "value_template": f"{{{{ {taken} | to_json }}}}",
        **install,
    }


def _key(count: str) -> str:
    """A label's own key, of characters that Home Assistant takes; different ones never share it."""
    label = count.removeprefix("count/")
    plain = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:40]
    return f"count_{plain}" if plain == label else f"count_{plain}_{zlib.crc32(label.encode()):08x}"
