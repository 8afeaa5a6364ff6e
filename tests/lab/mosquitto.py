"""Mosquitto, the real one: passwords, who may say what, own certificates, persistence."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORDS = {"dev": "open sesame", "shy": "hush", "ear": "listen"}
_ACL = """
user dev
topic readwrite gander/#
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
user root
listener {1} 127.0.0.1
listener {2} 127.0.0.1
cafile {0}/ca.crt
certfile {0}/server.crt
keyfile {0}/server.key
require_certificate true
"""
_DURABLE = """
persistence true
persistence_location {0}/
autosave_interval 1
autosave_on_changes true
"""


def install() -> None:
    """Have mosquitto, or skip with the reason."""
    if shutil.which("mosquitto") is None and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "mosquitto", "mosquitto-clients"], capture_output=True, check=False)
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed, and cannot be: apt-get install mosquitto mosquitto-clients")


@dataclass
class Mosquitto:
    """A broker with one open port and one for TLS with client certificates."""

    folder: Path
    port: int
    secure: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(["mosquitto", "-c", self.folder / "conf"], stdout=log, stderr=log)
        end = time.monotonic() + 10
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
        path.write_text(f"{PASSWORDS[user] if text is None else text}\n")
        path.chmod(0o600)
        return str(path)


def mosquitto(folder: Path, durable: bool = True) -> Mosquitto:
    """A broker, not yet started. `durable`: writes everything down at every message, and is killed without loss."""
    install()
    for user, password in PASSWORDS.items():
        create = [] if (folder / "passwords").exists() else ["-c"]
        subprocess.run(["mosquitto_passwd", *create, "-b", folder / "passwords", user, password], check=True)
    (folder / "acl").write_text(_ACL)
    certificates(folder)
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    (folder / "conf").write_text((_DURABLE * durable + _CONFIG).format(folder, *ports))
    return Mosquitto(folder, *ports)


def certificates(folder: Path) -> None:
    """Files `ca`, `server`, `client`, and a `stranger` that no one knows; each `.crt` and `.key`."""
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
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=name in ("ca", "stranger"), path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        (folder / f"{name}.crt").write_bytes(made.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        (folder / f"{name}.key").write_bytes(private)

    write("ca", ca_key, ca_name, ca_key)
    for name in ("server", "client"):
        write(name, ec.generate_private_key(ec.SECP256R1()), ca_name, ca_key)
    stranger = ec.generate_private_key(ec.SECP256R1())
    write("stranger", stranger, ca_name, stranger)
