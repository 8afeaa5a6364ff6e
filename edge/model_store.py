"""Installed bundles, whom to trust, and which bundle is champion. `watch`, or a command line without it, writes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypedDict

from edge import keys
from edge.atomic import make_folder, write_atomically
from edge.bundle import Bundle, read, verify
from edge.config import ModelsConfig
from edge.errors import BundleError, Refused, StateError
from edge.keys import PublicKey, SigningKey
from edge.manifest import SUFFIX
from edge.offers import Offers
from edge.self_test import SelfTest, self_test

STARTER = "starter"
_KEEP = 20  # champions of the past that a rollback can reach


@dataclass(frozen=True, slots=True)
class Installed:
    """One bundle as listed: its file's name without the suffix, and the role it has."""

    name: str
    path: Path
    champion: bool


class _Roles(TypedDict):
    champion: str
    before: list[str]


class ModelStore:
    """The folder `models` of a state directory."""

    def __init__(self, state: Path, config: ModelsConfig) -> None:
        self._state, self._config = state, config
        self._folder, self._keys = state / "models", state / "keys"
        self._offers = Offers((self._folder, state / "incoming"))

    def device_key(self) -> SigningKey:
        """This device's own key, made at the first call."""
        try:
            self._state.mkdir(parents=True, exist_ok=True, mode=0o2770)
        except OSError as error:
            raise StateError.of(error, f"{self._state}: cannot keep state there: {error.strerror}") from None
        return keys.load_or_generate(self._state / "device.key", "device")

    def trusted(self) -> list[PublicKey]:
        """The device's own key, those enrolled with `gander bundle trust`, the configuration's, and this user's.

        Who trains on this very machine, for this very user, need not be introduced.
        """
        paths = [Path(path) for path in self._config.trusted_keys] + sorted(self._keys.glob("*.pub"))
        own = (keys.public_path(self._state / "device.key"), keys.public_path(keys.own_path()))
        paths += [path for path in own if os.access(path, os.R_OK)]
        return [keys.load_public(path) for path in paths]

    def trust(self, path: Path) -> PublicKey:
        """Enrol a public key: bundles it signed are accepted from now on. Raises `StateError`: not kept."""
        key = keys.load_public(path)
        try:
            make_folder(self._keys)
            write_atomically(self._keys / f"{key.fingerprint}.pub", key.line.encode())
        except OSError as error:
            where = f"{self._keys}: the key cannot be kept: {error.strerror}"
            raise StateError.of(error, f"{where}; start the daemon, or use sudo") from None
        return key

    def champion(self) -> Bundle:
        """The configured champion, else the one promoted last, else the starter. Raises `BundleError`."""
        return self.load(self._config.champion or self._roles()["champion"])

    def load(self, name: str) -> Bundle:
        """Verify an installed bundle, a bundle file, or the starter, by name or path."""
        if name == STARTER:
            folder = resources.files("edge") / STARTER
            with (
                resources.as_file(folder / f"{STARTER}{SUFFIX}") as path,
                resources.as_file(folder / "starter.pub") as key,
            ):
                bundle = verify(path, [keys.load_public(key)])
            if not bundle.manifest.demo:
                raise BundleError(f"{path}: the starter's key signs demonstrations only")
            return bundle
        return verify(self.find(name), self.trusted(), self._config.allow_unsigned)

    def find(self, name: str) -> Path:
        """The file of a bundle: a path as it is, else an installed one; of a name without a version the newest."""
        if name.endswith(SUFFIX):
            return Path(name)
        exact = self._folder / f"{name}{SUFFIX}"
        if exact.exists():
            return exact
        found = [path for path in self._files() if path.stem.rpartition("-")[0] == name]
        if found:
            return max(found, key=lambda path: read(path).manifest.serial) if len(found) > 1 else found[0]
        there = ", ".join(path.stem for path in self._files()) or "none is installed"
        raise BundleError(
            f"model {name}: is not installed; there are: {there} (a file's path, ending in {SUFFIX}, will also do)"
        )

    def installed(self) -> list[Installed]:
        roles = self._roles()
        return [Installed(path.stem, path, path.stem == roles["champion"]) for path in self._files()]

    def install(self, path: Path) -> tuple[Bundle, SelfTest]:
        """Verify, try and keep a bundle. Refuses what is older than the installed, or slower than the deadline."""
        bundle = verify(path, self.trusted(), self._config.allow_unsigned)
        for other in self._files():
            installed = read(other).manifest
            if installed.name == bundle.name and installed.serial > bundle.manifest.serial:
                raise BundleError(
                    f"{path}: older (serial {bundle.manifest.serial}) than the installed {other.stem} "
                    f"(serial {installed.serial}); `gander bundle rollback` goes back to what was champion before"
                )
        test = self_test(bundle, self._config.threads)
        if test.invoke_ms > self._config.deadline_ms:
            raise BundleError(
                f"{path}: takes {test.invoke_ms:.0f} ms here, the deadline is {self._config.deadline_ms} ms "
                "(models.deadline_ms): it would always be late"
            )
        try:
            make_folder(self._folder)
            write_atomically(self._folder / bundle.manifest.file_name, path.read_bytes())
        except OSError as error:
            raise StateError.of(error, f"{self._folder}: cannot keep the bundle: {error.strerror}") from None
        return bundle, test

    def versions(self) -> dict[str, str]:
        """The champion, and the newest that could take its place: installed, or in the folder `incoming`.

        Empty where nobody can say which is champion.
        """
        if self._config.champion:
            installed = Path(self._config.champion).name.removesuffix(SUFFIX)
            return {"installed": installed, "latest": installed}
        try:
            champion = self._roles()["champion"]
        except StateError:
            return {}
        newest = self._offers.newest(champion)
        return {"installed": champion, "latest": newest.name if newest else champion}

    def newest(self) -> Bundle:
        """The newest bundle that came, now installed. Raises `Refused` where none is newer than the champion."""
        champion = self._roles()["champion"]
        newest = self._offers.newest(champion)
        if newest is None:
            raise Refused(f"model: nothing newer than {champion} is installed or in {self._state / 'incoming'}")
        if self._config.champion or newest.path.parent == self._folder:
            return self.candidate(newest.name)
        return self.install(newest.path)[0]

    def candidate(self, name: str) -> Bundle:
        """An installed bundle that could be promoted, verified. Raises `Refused`."""
        self._free()
        path = self.find(name)
        if path.parent != self._folder:
            raise Refused(f"model {name}: install it first: `gander bundle install {path}`")
        return verify(path, self.trusted(), self._config.allow_unsigned)

    def promote(self, bundle: Bundle) -> None:
        """Make an installed bundle the champion."""
        name, roles = Path(bundle.manifest.file_name).stem, self._roles()
        before = [b for b in (*roles["before"], roles["champion"]) if b != name]
        self._write(name, before)

    def before(self) -> Bundle:
        """The champion before this one, verified. Raises `Refused` where there is none, or one is configured."""
        self._free()
        before = self._roles()["before"]
        if not before:
            raise Refused("rollback: there was no champion before this one")
        return self.load(before[-1])

    def rollback(self) -> None:
        """Make the champion before this one the champion again."""
        before = self._roles()["before"]
        self._write(before[-1], before[:-1])

    def _free(self) -> None:
        if self._config.champion:
            raise Refused(f"models.champion = {self._config.champion!r} is configured and decides; remove it first")

    def _write(self, champion: str, before: list[str]) -> None:
        text = json.dumps({"champion": champion, "before": before[-_KEEP:]}, indent=1)
        try:
            write_atomically(self._folder / "roles.json", text.encode())
        except OSError as error:
            raise StateError(f"{self._folder}: cannot keep the roles: {error.strerror}") from None

    def _roles(self) -> _Roles:
        path = self._folder / "roles.json"
        try:
            roles = json.loads(path.read_text())
        except FileNotFoundError:
            return {"champion": STARTER, "before": []}
        except (OSError, ValueError) as error:
            raise StateError(f"{path}: cannot be read: {error}; remove it to start from the starter again") from None
        roles = roles if isinstance(roles, dict) else {}
        champion, before = roles.get("champion"), roles.get("before")
        if not (isinstance(champion, str) and isinstance(before, list) and all(isinstance(b, str) for b in before)):
            raise StateError(f"{path}: not the roles of models; remove it to start from the starter again")
        return {"champion": champion, "before": before}

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}"))
