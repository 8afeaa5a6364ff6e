"""Tests about the text: layers, docstrings, sizes, and documents that name what is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for part in ("edge", "firmware", "training") for p in (ROOT / part).rglob("*.py"))
HARDWARE = {
    "gpiozero",
    "lgpio",
    "picamera2",
    "libcamera",
    "serial",
    "ai_edge_litert",
    "tflite_runtime",
    "tensorflow",
    "keras",
}
NETWORK = {"paho", "amqtt", "tweepy", "apprise", "requests", "aiohttp", "httpx"}
CHOICES = ("edge/frames/", "edge/runtimes/", "edge/actuators/", "edge/publishers/", "edge/pin_guard.py", "training/")
PURE = (
    "edge/values.py",
    "edge/policy.py",
    "edge/evidence.py",
    "edge/editor.py",
    "edge/feed.py",
    "edge/payloads.py",
    "firmware/deterrent.py",
    "firmware/wire.py",
)
LIVE = ("socket", "sqlite3", "subprocess", "threading", "os", "pathlib", "time", "cv2")
BROAD = {
    "edge/frames/picamera.py", "edge/model_worker.py", "edge/outbox.py", "edge/posting.py", "edge/web",
    "training/backbones.py",
}  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_layers(path: Path) -> None:
    modules = set(imports(path))
    tops = {module.partition(".")[0] for module in modules}
    part = name(path).partition("/")[0]
    if part == "edge":
        assert not tops & {"training", "tensorflow", "keras"}, "the appliance knows no training"
    if part == "firmware":
        assert not tops & {"edge", "training"}, "the firmware runs on a Pico"
    if not name(path).startswith(CHOICES):
        assert not tops & (HARDWARE | NETWORK), "only files in choice folders import hardware, runtimes and clients"
    if name(path) in PURE:
        assert not tops & set(LIVE), "pure files do nothing to the world"
    if (
        part == "edge"
        and name(path) not in ("edge/app.py", "edge/replay.py", "edge/check.py")
        and not name(path).startswith("edge/bench")
        and "cli" not in name(path)
    ):
        assert "edge.app" not in modules, "only the verbs and what replays or measures a whole line call the root"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_room_is_a_sitting_long_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400, "a file is a sitting long"
    assert ast.get_docstring(tree), "a module says its purpose"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 70, f"{node.name}: a function is a screen long, this has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_broad_except_only_where_it_turns_into_a_value(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            assert not broad or name(path).startswith(tuple(BROAD)), f"line {node.lineno}"


def test_the_pi_never_installs_tensorflow() -> None:
    lines = (ROOT / "requirements.txt").read_text().lower().splitlines()
    required = "\n".join(line for line in lines if not line.startswith("#"))
    assert "tensorflow" not in required
    assert "keras" not in required


def test_the_readme_says_where_each_package_is_installed() -> None:
    readme = (ROOT / "README.md").read_text()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    packages = [re.split(r"[<>=\[ ]", line)[0] for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages += [re.split(r"[<>=]", p)[0] for extra in project["optional-dependencies"].values() for p in extra]
    assert [p for p in packages if f"`{p}`" not in readme] == []


def test_the_readme_names_every_verb_and_every_target() -> None:
    from edge.cli import VERBS

    readme = (ROOT / "README.md").read_text()
    for verb in (verb for verbs in VERBS.values() for verb in verbs):
        assert f"gander {verb}" in readme, f"the README does not tell of `gander {verb}`"
    for target in re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M):
        assert f"make {target}" in readme or target in ("help", "clean", "format", "setup-training"), target


def test_files_named_in_documents_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "training/README.md"):
        for path in re.findall(
            r"`((?:edge|training|firmware|deploy|systemd|tests)/[\w/.-]+)`", (ROOT / document).read_text()
        ):
            assert (ROOT / path).exists(), f"{document} names {path}"


def test_no_verb_without_help() -> None:
    from typer.main import get_command

    from edge.cli import VERBS, app

    group: Any = get_command(app)

    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name_, child in getattr(command, "commands", {}).items():
            yield from walk(child, f"{path} {name_}")

    verbs = [verb for verbs in VERBS.values() for verb in verbs]
    assert group.list_commands(None) == verbs
    for verb in verbs:
        for path, command in walk(group.get_command(None, verb), f"gander {verb}"):
            assert getattr(command, "help", None), f"{path} has no help"
    assert group.get_command(None, "nonsense") is None


@pytest.mark.parametrize("module", ["edge.cli_owner", "edge.cli_keep", "edge.cli_run", "edge.cli_feed"])
def test_small_verbs_bring_no_pictures_and_no_models(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"cv2", "edge.app", "edge.runtimes.tflite", "cryptography"} & set(done.stdout.split())
