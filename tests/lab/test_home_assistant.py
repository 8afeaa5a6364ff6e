"""The appliance in a real Home Assistant: what it finds and shows, what its owner can do there and on the phone."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.control import ask
from tests import stage
from tests.daemon import Daemon
from tests.lab.home_assistant import HomeAssistant, Phone, home_assistant, phone
from tests.lab.household import PATIENCE_S, Place, Scene, entity_id
from tests.lab.mosquitto import PASSWORDS, mosquitto
from tests.mjpeg import camera
from tests.mqtt import Ear, until
from tests.stage import gander

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]  # the first time it is installed

ENTITIES = {
    "event.gander_yard_event",
    "image.gander_yard_picture",
    "binary_sensor.gander_yard_motion",
    "binary_sensor.gander_yard_problem",
    "binary_sensor.gander_yard_connection",
    "binary_sensor.gander_yard_camera_cam",
    "sensor.gander_yard_last_visitor",
    "sensor.gander_yard_score",
    "sensor.gander_yard_onset_latency_p95",
    "sensor.gander_yard_red_today",
    "sensor.gander_yard_queue",
    "sensor.gander_yard_disk_free",
    "sensor.gander_yard_temperature",
    "switch.gander_yard_armed",
    "select.gander_yard_mode",
    "button.gander_yard_test_light",
    "button.gander_yard_test_lamp",
    "button.gander_yard_pause_one_hour",
    "update.gander_yard_model",
}
BLUEPRINT = Path(__file__).parents[2] / "deploy" / "home-assistant" / "gander_feedback.yaml"
LIGHT, LAMP = '{id="light",cooldown_s=1}', '{id="lamp",channel=1,pin=27,cooldown_s=1}'


@pytest.fixture(scope="module")
def place(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "broker").mkdir()
    broker = mosquitto(folder / "broker")
    with (broker.folder / "acl").open("a") as acl:
        acl.write("\nuser dev\ntopic readwrite homeassistant/#\n\nuser ear\ntopic readwrite #\n")
    home = home_assistant(cache, folder / "home")
    blueprints = home.folder / "blueprints" / "automation" / "gander"
    blueprints.mkdir(parents=True)
    shutil.copy(BLUEPRINT, blueprints)
    state = folder / "state"
    assert gander("bundle", "install", stage.bundle(state, folder), state=state).status == 0
    assert gander("bundle", "promote", "colours", state=state).status == 0
    scene = Scene()
    with contextlib.ExitStack() as stack:
        broker.start()
        stack.callback(broker.kill)
        home.start()
        stack.callback(home.stop)
        home.onboard()
        home.use_broker(broker.port, "ear", "listen")
        pixel = stack.enter_context(phone(home, "Pixel"))
        source = stack.enter_context(camera(scene, fps=10.0)).address
        made = Place(broker, home, pixel, scene, state, source)
        stack.callback(lambda: [process.kill() for process in made.running])
        yield made


@pytest.fixture(scope="module")
def daemon(place: Place) -> Daemon:
    """The appliance at work, found by Home Assistant, with one visit behind it."""
    give_automation(place)
    daemon = place.watch(f"deterrent=[{LIGHT},{LAMP}]")
    daemon.wait(lambda: daemon.running() and daemon.status()["controller_ready"], PATIENCE_S)
    place.publish()
    place.shows("binary_sensor.connection", "on")
    until(lambda: daemon.status()["frames"] > 60, PATIENCE_S)  # the background is known
    place.visit(daemon)
    return daemon


def give_automation(place: Place, name: str = "phone", **more: str) -> None:
    """One of the blueprint, as its page makes it."""
    inputs = {"events": "event.gander_yard_event", "phone": place.home.render("{{ device_id('Pixel') }}"), **more}
    wanted = {"alias": name, "use_blueprint": {"path": "gander/gander_feedback.yaml", "input": inputs}}
    place.home.post(f"/api/config/automation/config/{name}", wanted)
    until(lambda: place.home.state(f"automation.{name}") == "on", PATIENCE_S)


def complaints(home: HomeAssistant, after: int = 0) -> list[str]:
    """What its log says against us, from a place in it on; that a setup takes long is the machine's fault."""
    slow = ("is taking over", "wrapping up the start up")
    lines = [line for line in home.log()[after:].splitlines() if not any(words in line for words in slow)]
    against = ("ERROR", "WARNING")
    return [line for line in lines if any(word in line for word in against) and ("mqtt" in line or "gander" in line)]


def today(daemon: Daemon) -> int:
    """Visits since local midnight."""
    began = [datetime.fromisoformat(visit["visit"]["started"]).astimezone() for visit in daemon.events("visit")]
    return sum(at.date() == datetime.now(UTC).astimezone().date() for at in began)


def test_every_entity_is_there_and_shows_how_it_is(place: Place, daemon: Daemon) -> None:
    home = place.home
    until(lambda: set(home.states("gander_yard")) == ENTITIES, PATIENCE_S)
    for entity, state in {
        "binary_sensor.motion": "off",
        "binary_sensor.problem": "off",
        "binary_sensor.connection": "on",
        "binary_sensor.camera_cam": "on",
        "sensor.last_visitor": "red",
        "sensor.queue": "0",
        "switch.armed": "on",
        "select.mode": "armed",
        "update.model": "off",
    }.items():
        place.shows(entity, state)
    until(lambda: home.state(entity_id("sensor.red_today")) == str(today(daemon)), PATIENCE_S)
    until(lambda: home.state(entity_id("sensor.onset_latency_p95")) not in ("unknown", None), PATIENCE_S)
    assert float(home.state(entity_id("sensor.onset_latency_p95")) or 0) > 0
    assert float(home.state(entity_id("sensor.score")) or 0) > 90
    assert float(home.state(entity_id("sensor.disk_free")) or 0) > 0
    temperature = daemon.status()["temperature"]
    assert (home.state(entity_id("sensor.temperature")) == "unknown") == (temperature is None)
    visit = daemon.events("visit")[-1]["visit"]
    event = place.attributes("event", "event")
    assert (event["event_type"], event["visit"], event["kind"]) == ("visit", visit["id"], "threat")
    assert (event["camera"], event["actions"], event["base"]) == ("cam", visit["actions"], "gander/yard")
    last = place.attributes("sensor", "last_visitor")
    assert (last["visit"], last["kind"], last["actions"]) == (visit["id"], "threat", visit["actions"])
    until(lambda: picture(home).startswith(b"\xff\xd8"), PATIENCE_S)  # a JPEG
    assert place.attributes("update", "model")["installed_version"].startswith("colours-")
    assert complaints(home) == []


def picture(home: HomeAssistant) -> bytes:
    """The last visitor's; empty while there is none."""
    with contextlib.suppress(OSError):
        return bytes(home.get(f"/api/image_proxy/{entity_id('image.picture')}"))
    return b""


def test_the_phone_is_told_and_its_answer_is_kept(place: Place, daemon: Daemon) -> None:
    if "image" not in place.pushed("automation.phone")[-1]["data"]:
        place.visit(daemon)  # its picture came too late for a push; by now there are some
    phone, visit = place.phone, daemon.events("visit")[-1]["visit"]["id"]
    push = place.pushed("automation.phone")[-1]
    assert push["title"] == "Gander yard"
    assert "red was at cam" in push["message"]
    right, wrong, pause = push["data"]["actions"]
    assert [right["title"], wrong["title"], pause["title"]] == ["Right: red", "Wrong, it was …", "Pause 1 h"]
    assert wrong["behavior"] == "textInput"
    token, place.home.token = place.home.token, ""  # the app has its own way in; the picture's address holds one, too
    try:
        assert place.home.get(push["data"]["image"]).startswith(b"\xff\xd8")
    finally:
        place.home.token = token

    phone.press(right["action"])
    until(lambda: [row[:2] for row in place.labels()] == [(visit, "red")], PATIENCE_S)
    phone.press(wrong["action"], reply_text="blue jay, a young one")
    until(lambda: [row[:2] for row in place.labels()][1:] == [(visit, "blue jay, a young one")], PATIENCE_S)
    assert all(who.endswith(" via mqtt") for _, _, who in place.labels())
    phone.press(wrong["action"], reply_text="  ")
    phone.press("gander|automation.other|right|x|y")  # not this automation's
    phone.press(pause["action"])
    goes_on(daemon)
    assert len(place.labels()) == 2
    assert not undone(phone), "what went well is not told"

    phone.press(right["action"].replace(visit, "00000000-nobody"))
    until(lambda: undone(phone), PATIENCE_S)
    assert "there is none" in undone(phone)[0]
    assert complaints(place.home) == []


def goes_on(daemon: Daemon) -> None:
    """Wait for a pause of an hour, and end it."""
    before = len(daemon.events("command"))
    until(lambda: daemon.status()["paused"], PATIENCE_S)
    until(lambda: "pause 3600" in [event["command"] for event in daemon.events("command")[-3:]], PATIENCE_S)
    ask(daemon.state, "pause", seconds=0)
    until(lambda: len(daemon.events("command")) > before, PATIENCE_S)


def undone(phone: Phone) -> list[str]:
    """What the phone was told did not work."""
    return [push["message"] for push in phone.pushes if push.get("title") == "Not done"]


def test_a_second_automation_tells_of_it_as_it_fires(place: Place, daemon: Daemon) -> None:
    before, kept = len(place.phone.pushes), len(place.labels())
    give_automation(place, "alarm", moment="action")
    last = place.visit(daemon)["visit"]["id"]
    until(lambda: place.pushed("automation.alarm", before), PATIENCE_S)
    assert last in {push["data"]["tag"] for push in place.pushed("automation.phone", before)}
    place.phone.press(place.pushed("automation.alarm", before)[0]["data"]["actions"][0]["action"])
    until(lambda: len(place.labels()) > kept, PATIENCE_S)
    place.home.call("automation.turn_off", "automation.alarm")
    assert len(place.labels()) == kept + 1, "only the one whose button it was hears it"


def test_switch_select_and_buttons_command_the_appliance(place: Place, daemon: Daemon) -> None:
    home = place.home
    ask(place.state, "mode", mode="armed")
    home.call("switch.turn_off", entity_id("switch.armed"))
    until(lambda: daemon.status()["mode"] == "observe", PATIENCE_S)
    assert gander("status", "--json", state=place.state).summary["mode"] == "observe"
    place.shows("switch.armed", "off")
    place.shows("select.mode", "observe")
    home.call("select.select_option", entity_id("select.mode"), option="maintenance")
    until(lambda: daemon.status()["mode"] == "maintenance", PATIENCE_S)
    place.shows("select.mode", "maintenance")

    before = len(daemon.levels(27))
    for _ in range(5):  # refused where the controller was silent just then
        home.call("button.press", entity_id("button.test_lamp"))
        with contextlib.suppress(AssertionError):
            until(lambda: daemon.events("test_fire"), 20)
            break
    assert daemon.events("test_fire")[-1]["action"]["deterrent"] == "lamp"
    assert daemon.levels(27)[before][1] == 1
    home.call("switch.turn_on", entity_id("switch.armed"))
    until(lambda: daemon.status()["mode"] == "armed", PATIENCE_S)
    place.shows("switch.armed", "on")
    home.call("button.press", entity_id("button.pause_one_hour"))
    goes_on(daemon)
    assert complaints(home) == []


def test_update_installs_what_came_and_refuses_what_nobody_signed(place: Place, daemon: Daemon) -> None:
    home, incoming = place.home, place.state / "incoming"
    incoming.mkdir(exist_ok=True)
    first = place.attributes("update", "model")["installed_version"]
    strange = stage.bundle(place.state.parent / "stranger", place.state.parent / "strange")
    with hearing(place) as ear:
        shutil.copy(strange, incoming / "strange.gander")
        place.shows("update.model", "on")
        assert place.attributes("update", "model")["latest_version"] != first
        home.call("update.install", entity_id("update.model"))
        until(lambda: ear.of("yard/result"), PATIENCE_S)
        answer = ear.of("yard/result")[-1].json
        assert (answer["command"], answer["ok"]) == ("model/install/set", False)
        assert "trust" in answer["answer"]
        assert place.attributes("update", "model")["installed_version"] == first
        (incoming / "strange.gander").unlink()
        place.shows("update.model", "off")

        shutil.copy(stage.bundle(place.state, place.state.parent / "newer"), incoming / "any.gander")
        place.shows("update.model", "on")
        latest = place.attributes("update", "model")["latest_version"]
        home.call("update.install", entity_id("update.model"))
        place.shows("update.model", "off")
        assert place.attributes("update", "model")["installed_version"] == latest > first
        until(lambda: ear.of("yard/result")[-1].json["ok"], PATIENCE_S)
    assert f"* {latest}" in gander("bundle", "list", state=place.state).out
    assert place.visit(daemon)["model"]["version"] == latest.removeprefix("colours-")


@contextlib.contextmanager
def hearing(place: Place) -> Iterator[Ear]:
    ear = Ear(place.broker.port, lambda client: client.username_pw_set("ear", PASSWORDS["ear"]))
    yield ear
    ear.close()


def test_a_birth_that_the_broker_keeps_is_heard_as_it_comes(place: Place, daemon: Daemon) -> None:
    topic = "homeassistant/device/gander_yard/config"
    with hearing(place) as ear:
        ear.client.subscribe(topic, 1)
        until(lambda: ear.of(topic), PATIENCE_S)
        ear.client.publish("homeassistant/status", "online", qos=1, retain=True).wait_for_publish(10)
        until(lambda: len(ear.of(topic)) == 2, PATIENCE_S)
        ear.client.publish("homeassistant/status", b"", qos=1, retain=True).wait_for_publish(10)


def test_away_is_seen_and_so_is_the_return(place: Place, daemon: Daemon) -> None:
    publisher = place.running[-1]
    publisher.kill()  # the broker tells its last will
    publisher.wait()
    place.shows("binary_sensor.connection", "off")
    until(lambda: states(place) - {"off"} == {"unavailable"}, PATIENCE_S)
    told = len(place.pushed("automation.phone"))
    place.phone.press(place.pushed("automation.phone")[0]["data"]["actions"][0]["action"])
    until(lambda: any("away" in message for message in undone(place.phone)), PATIENCE_S)
    with hearing(place) as ear:
        place.publish("mqtt.ignore_s=60")
        place.shows("switch.armed", "on")
        place.home.call("switch.turn_off", entity_id("switch.armed"))
        until(lambda: ear.of("yard/result"), PATIENCE_S)
        assert "within 60 s of connecting" in ear.of("yard/result")[0].json["answer"]
    assert daemon.status()["mode"] == "armed"
    until(lambda: "unavailable" not in states(place), PATIENCE_S)
    assert len(place.pushed("automation.phone")) == told, "what comes back is no news"
    place.end(place.running[-1])
    place.publish()  # obeys at once again, for what follows
    until(lambda: "unavailable" not in states(place), PATIENCE_S)
    place.shows("binary_sensor.connection", "on")


def states(place: Place) -> set[str]:
    return {state["state"] for state in place.home.states("gander_yard").values()}


def test_a_home_assistant_that_starts_anew_is_told_all_again(place: Place, daemon: Daemon) -> None:
    before, told = set(place.home.states("gander_yard")), len(place.pushed("automation.phone"))
    place.home.stop()
    with hearing(place) as ear:
        # Nothing is left at the broker, so that only being asked helps.
        for topic in ("homeassistant/device/gander_yard/config", "gander/yard/mode", "gander/yard/availability"):
            ear.client.publish(topic, b"", qos=1, retain=True).wait_for_publish(10)
    mark = len(place.home.log())
    place.home.start()
    place.shows("select.mode", "armed")
    place.shows("binary_sensor.connection", "on")
    until(lambda: set(place.home.states("gander_yard")) == before, PATIENCE_S)
    until(lambda: "unavailable" not in states(place), PATIENCE_S)
    kept = len(place.labels())
    place.phone.press(place.pushed("automation.phone")[0]["data"]["actions"][0]["action"])  # from before
    until(lambda: len(place.labels()) == kept + 1, PATIENCE_S)
    assert len(place.pushed("automation.phone")) == told, "what comes back is no news"
    assert complaints(place.home, mark) == []


def test_what_is_taken_out_goes_and_the_device_too(place: Place, daemon: Daemon) -> None:
    mark = len(place.home.log())
    place.end(place.running[-1])
    place.end(daemon.process)
    again = place.watch(f"deterrent=[{LIGHT}]")
    place.publish("mqtt.images=false")
    gone = {"button.gander_yard_test_lamp", "image.gander_yard_picture"}
    until(lambda: set(place.home.states("gander_yard")) == ENTITIES - gone, PATIENCE_S)
    place.shows("binary_sensor.connection", "on")
    known = place.home.render("{{ device_entities(device_id('binary_sensor.gander_yard_connection')) | join(' ') }}")
    assert set(known.split()) == ENTITIES - gone, "nor is it kept in the registry"
    until(lambda: again.running() and again.status()["frames"] > 60, PATIENCE_S)
    place.visit(again)
    assert "image" not in place.pushed("automation.phone")[-1]["data"]
    place.end(place.running[-1])
    place.publish("mqtt.discovery=false")
    until(lambda: not place.home.states("gander_yard"), PATIENCE_S)
    until(lambda: place.home.render("{{ device_id('Gander yard') }}") == "None", PATIENCE_S)
    assert complaints(place.home, mark) == []
