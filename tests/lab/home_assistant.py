"""Home Assistant, the real one: installed once, begun with an owner, asked over HTTP as its own page does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt import until
from tests.ports import free_port

_PARTS = ("mqtt", "mobile_app", "automation", "image", "event", "update", "frontend", "history")
_CONFIG = """
homeassistant:
  name: Yard
  latitude: 0
  longitude: 0
  elevation: 0
  unit_system: metric
  time_zone: UTC
http:
  server_host: 127.0.0.1
  server_port: {port}
config:
frontend:
mobile_app:
automation: !include automations.yaml
logger:
  default: warning
  logs:
    homeassistant.components.mqtt: info
"""


def install(cache: Path) -> Path:
    """Its program, in an environment of its own that is kept. Skips with the reason where it cannot be had."""
    home = cache / "home-assistant"
    program = home / "bin" / "hass"
    if (home / "complete").exists():
        return program
    python = _python()
    shutil.rmtree(home, ignore_errors=True)
    _run([python, "-m", "venv", home])
    pip = [home / "bin" / "python", "-m", "pip", "install", "-q"]
    _run([*pip, "homeassistant"])
    _run([*pip, *_requirements(home)])
    (home / "complete").touch()
    return program


def _python() -> str:
    """A Python that Home Assistant runs on."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    older, newer = (sorted(pyenv.glob(f"{version}*/bin/python"), reverse=True) for version in ("3.13", "3.14"))
    for candidate in [*older, "python3.13", *newer, "python3.14", "python3"]:
        try:
            answer = subprocess.run(
                [candidate, "-c", "import sys, venv, ensurepip; print(sys.version_info >= (3, 13))"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except OSError:
            continue
        if answer.stdout.strip() == "True":
            return str(candidate)
    pytest.skip("Home Assistant needs Python 3.13, which is not here; install one, by pyenv say")


def _run(line: list[Any]) -> None:
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Home Assistant cannot be installed: {line[-1]}: {done.stderr.strip()[-300:]}")


def _requirements(home: Path) -> list[str]:
    """What the parts in use want, as their own manifests have it: else it is fetched at every first start."""
    parts = next(home.glob("lib/python*/site-packages/homeassistant/components"))
    found: set[str] = set()
    todo, seen = list(_PARTS), set[str]()
    while todo:
        part = todo.pop()
        if part not in seen:
            seen.add(part)
            manifest = json.loads((parts / part / "manifest.json").read_text())
            found |= set(manifest.get("requirements", []))
            todo += manifest.get("dependencies", [])
    return sorted(found)


@dataclass
class HomeAssistant:
    """One installation: a folder with its configuration, and the program when it runs."""

    program: Path
    folder: Path
    port: int
    token: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        out = (self.folder / "out").open("ab")
        line = [self.program, "--config", self.folder, "--skip-pip"]
        self.process = subprocess.Popen(line, stdout=out, stderr=out)
        until(self._running, 180)

    def _running(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log()[-3000:]
        if not self.token:
            return self._answers("/api/onboarding")
        with contextlib.suppress(OSError):
            return bool(self.get("/api/config")["state"] == "RUNNING")
        return False

    def _answers(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            self.get(path)
            return True
        return False

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(300)
            finally:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        return (self.folder / "out").read_text() if (self.folder / "out").exists() else ""

    def _ask(self, path: str, body: Any = None, form: bool = False) -> Any:
        """Raises `OSError`, also for an answer that is none of success."""
        data = None
        if body is not None:
            data = urllib.parse.urlencode(body).encode() if form else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise OSError(f"{path}: {error.code} {error.read()[:500]!r}") from None
        if "json" not in answer.headers.get("Content-Type", ""):
            return content
        return json.loads(content)

    def get(self, path: str) -> Any:
        return self._ask(path)

    def post(self, path: str, body: Any) -> Any:
        return self._ask(path, body)

    def onboard(self) -> None:
        """Make the owner."""
        who = {"client_id": f"{self.address}/", "name": "Owner", "username": "owner"}
        made = self.post("/api/onboarding/users", who | {"password": "open sesame", "language": "en"})
        wanted = {"grant_type": "authorization_code", "code": made["auth_code"], "client_id": who["client_id"]}
        self.token = self._ask("/auth/token", wanted, form=True)["access_token"]

    def use_broker(self, port: int, user: str, password: str) -> None:
        """Add MQTT, as its page does; again where it gave the broker too little time."""
        wanted = {"broker": "127.0.0.1", "port": port, "username": user, "password": password}

        def added() -> bool:
            flow = self.post("/api/config/config_entries/flow", {"handler": "mqtt", "show_advanced_options": False})
            made = self.post(f"/api/config/config_entries/flow/{flow['flow_id']}", wanted)
            return bool(made["type"] == "create_entry")

        until(added, 120)

    def states(self, part: str = "gander") -> dict[str, dict[str, Any]]:
        """Entities whose id has `part` in it, by id."""
        return {state["entity_id"]: state for state in self.get("/api/states") if part in state["entity_id"]}

    def state(self, entity: str) -> str | None:
        """None: there is no such entity."""
        found = self.states(entity).get(entity)
        return str(found["state"]) if found else None

    def attributes(self, entity: str) -> dict[str, Any]:
        found: dict[str, Any] = self.states(entity)[entity]["attributes"]
        return found

    def call(self, action: str, entity: str, **more: Any) -> None:
        self.post(f"/api/services/{action.replace('.', '/')}", {"entity_id": entity, **more})

    def render(self, template: str) -> str:
        answer = self.post("/api/template", {"template": template})
        return answer.decode() if isinstance(answer, bytes) else str(answer)


def home_assistant(cache: Path, folder: Path) -> HomeAssistant:
    """One that is not yet begun."""
    program = install(cache)
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "configuration.yaml").write_text(_CONFIG.format(port=port))
    (folder / "automations.yaml").write_text("[]\n")
    return HomeAssistant(program, folder, port)


@dataclass
class Phone:
    """What the phone's app is to Home Assistant: a registration, pushes that come, and buttons that are pressed."""

    home: HomeAssistant
    name: str
    pushes: list[dict[str, Any]]
    webhook: str = ""

    def register(self, port: int) -> None:
        """As the app does at its first start."""
        app = {"push_url": f"http://127.0.0.1:{port}/push", "push_token": "token"}
        wanted = {"app_id": "gander", "app_name": "lab", "app_version": "1", "device_name": self.name, "device_id": "1"}
        wanted |= {"manufacturer": "lab", "model": "lab", "os_name": "lab", "os_version": "1"}
        body = wanted | {"supports_encryption": False, "app_data": app}
        self.webhook = self.home.post("/api/mobile_app/registrations", body)["webhook_id"]

    def press(self, action: str, **more: Any) -> None:
        """One of a notification's buttons."""
        event = {"event_type": "mobile_app_notification_action", "event_data": {"action": action, **more}}
        self.home.post(f"/api/webhook/{self.webhook}", {"type": "fire_event", "data": event})


@contextlib.contextmanager
def phone(home: HomeAssistant, name: str) -> Iterator[Phone]:
    """A phone, and the server that its maker has for pushes."""
    made = Phone(home, name, [])

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            made.pushes.append(json.loads(self.rfile.read(length)))
            limits = {"successful": 1, "errors": 0, "maximum": 500, "resetsAt": "2100-01-01T00:00:00Z"}
            body = json.dumps({"rateLimits": limits}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        made.register(server.server_port)
        yield made
    finally:
        server.shutdown()
        server.server_close()
