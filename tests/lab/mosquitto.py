"""Mosquitto, the real one: passwords, who may say what, own certificates, persistence; and a feed beside it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.atomic import write_atomically
from edge.database import DELIVERIES
from tests.lab import apt
from tests.mqtt import Ear, until
from tests.ports import free_port
from tests.stage import environment
from tests.yard import Yard, yard

PASSWORDS = {"dev": "open sesame", "shy": "hush", "ear": "listen"}
_ACL = """
user dev
topic readwrite gander/#
topic readwrite homeassistant/#
user ear
topic readwrite gander/#
user shy
topic deny gander/yard/event
topic readwrite gander/#
"""
_CONFIG = """
per_listener_settings false
password_file {0}/passwords
acl_file {0}/acl
allow_anonymous false
max_queued_messages 100000
max_inflight_messages 0
user root
listener {1} 127.0.0.1
listener {2} 127.0.0.1
cafile {0}/ca.crt
certfile {0}/server.crt
keyfile {0}/server.key
require_certificate true
listener {3} 127.0.0.1
cafile {0}/ca.crt
certfile {0}/old-server.crt
keyfile {0}/old-server.key
"""
_DURABLE = """
persistence true
persistence_location {0}/
autosave_interval 1
autosave_on_changes true
"""


def install() -> None:
    """Have mosquitto, or skip with the reason."""
    if shutil.which("mosquitto") is None and (why := apt.install("mosquitto", "mosquitto-clients")):
        pytest.skip(f"mosquitto: {why}")


@dataclass
class Mosquitto:
    """A broker with one open port, one for TLS with client certificates, one with a certificate that has expired."""

    folder: Path
    port: int
    secure: int
    expired: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(["mosquitto", "-c", self.folder / "conf"], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def password(self, user: str, text: str | None = None) -> str:
        """A password file as an owner would write it."""
        path = self.folder / f"{user}.secret"
        # In one move, since another may be about to read it.
        write_atomically(path, f"{PASSWORDS[user] if text is None else text}\n".encode(), 0o600)
        return str(path)


def mosquitto(folder: Path, durable: bool = True, more: str = "") -> Mosquitto:
    """A broker, not yet started. `durable`: it writes down what changed, a moment after it has taken it.

    What it takes it passes on at once to whoever listens, before it says that it has it: so nothing is lost when it
    is killed while somebody listens. `more`: lines of its configuration.
    """
    install()
    for user, password in PASSWORDS.items():
        create = [] if (folder / "passwords").exists() else ["-c"]
        subprocess.run(["mosquitto_passwd", *create, "-b", folder / "passwords", user, password], check=True)
    (folder / "acl").write_text(_ACL)
    certificates(folder)
    ports = [free_port() for _ in range(3)]
    (folder / "conf").write_text(f"{more}\n" + (_DURABLE * durable + _CONFIG).format(folder, *ports))
    return Mosquitto(folder, *ports)


@pytest.fixture
def broker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mosquitto]:
    """Started; durable unless the parameter is False; a parameter that is text: more of its configuration."""
    folder = tmp_path / "broker"
    folder.mkdir()
    wanted = getattr(request, "param", True)
    broker = mosquitto(folder, bool(wanted), wanted if isinstance(wanted, str) else "")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path / "state") as made:
        yield made


@pytest.fixture
def ear(broker: Mosquitto) -> Iterator[Ear]:
    """Somebody who listens, with a session that the broker keeps while it is away."""

    def listen(client: paho.Client) -> None:
        client.username_pw_set("ear", PASSWORDS["ear"])
        client._clean_session, client._client_id = False, b"ear"

    ear = Ear(broker.port, listen)
    yield ear
    ear.close()


def access(broker: Mosquitto, user: str = "dev", password: str | None = None) -> dict[str, object]:
    """Settings of [mqtt] for a user of this broker."""
    return {"user": user, "password_file": broker.password(user, password), "version": ""}


def arrived(ear: Ear, node: str = "yard") -> list[str]:
    """Events by their first arrival, on time or late."""
    topics = (f"{node}/event", f"{node}/event/late")
    return list(dict.fromkeys(m.json["id"] for m in list(ear.heard) if m.topic in topics))


def feed(
    state: Path, port: int, password_file: str, node: str = "yard", more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`gander publish`, the process; `more`: of its environment."""
    settings = ("mqtt.user=dev", f"mqtt.password_file={json.dumps(password_file)}", f"node.name={node}")
    arguments = [part for setting in settings for part in ("--set", setting)]
    return publish(state, more or {}, "--mqtt", f"127.0.0.1:{port}", *arguments)


def publish(state: Path, more: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """`gander publish`, the process; its words go to `log_of(state)`, and where its threads are when it is aborted."""
    line = [sys.executable, "-m", "edge.cli_feed", *arguments]
    with log_of(state).open("ab") as log:
        return subprocess.Popen(line, env=environment(state, PYTHONFAULTHANDLER="1", **more), stderr=log)


def log_of(state: Path) -> Path:
    return state.with_name(f"{state.name}.log")


def settled(process: subprocess.Popen[bytes], state: Path, done: Callable[[], object], seconds: float) -> None:
    """Wait until it is done, or the process has ended; else fails with what the process said, and where it hangs."""
    try:
        until(lambda: process.poll() is not None or done(), seconds)
    except AssertionError:
        process.send_signal(signal.SIGABRT)
        process.wait(30)
        pytest.fail(f"neither ended nor done: {state}: {place(state)}\n{log_of(state).read_text()}")


def ended(process: subprocess.Popen[bytes]) -> None:
    """Told to end, it does."""
    process.terminate()
    assert process.wait(30) == 0


def place(state: Path) -> str | None:
    """The last event that counts as delivered; None before there is any word of it."""
    try:
        with sqlite3.connect(f"file:{state / DELIVERIES}?mode=ro", uri=True) as connection:
            row = connection.execute("SELECT event_id FROM place").fetchone()
    except sqlite3.Error:
        return None
    return row[0] if row else None


def certificates(folder: Path) -> None:
    """Files `ca`, `server`, `client`, both also as they were (`old-…`), a `stranger` no one knows: `.crt`, `.key`."""
    ca_key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a yard's own")])

    def write(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey
    ) -> None:
        own = ca_name if name == "ca" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(own)
            .issuer_name(issuer if name != "stranger" else own)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=-30 if name.startswith("old") else 30))
            .add_extension(x509.BasicConstraints(ca=name in ("ca", "stranger"), path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        (folder / f"{name}.crt").write_bytes(made.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        (folder / f"{name}.key").write_bytes(private)
        (folder / f"{name}.key").chmod(0o640)

    write("ca", ca_key, ca_name, ca_key)
    for name in ("server", "client", "old-server", "old-client"):
        write(name, ec.generate_private_key(ec.SECP256R1()), ca_name, ca_key)
    stranger = ec.generate_private_key(ec.SECP256R1())
    write("stranger", stranger, ca_name, stranger)
