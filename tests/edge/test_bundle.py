"""The bundle's file: whole or refused, whatever happened to it on the way."""

import hashlib
import io
import json
import os
import signal
import stat
import struct
import threading
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import bundle, keys
from edge.bundle import Bundle, Golden
from edge.clock import iso
from edge.config import ModelsConfig
from edge.errors import BundleError, Refused, StateError
from edge.manifest import Manifest
from edge.model_store import ModelStore
from edge.self_test import run_apart, self_test
from tests import tiny_tflite

KEY = keys.SigningKey(keys.Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "test")
CROPS = tuple(tiny_tflite.picture(colour) for colour in range(3))
CERTAIN = np.eye(3, dtype=np.float32)


def manifest(**more: object) -> Manifest:
    contract = {"shape": (1, 32, 32, 3), "dtype": "uint8", "mean": (128,) * 3, "std": (128,) * 3}
    values = {
        "name": "tiny",
        "version": "1.0",
        "serial": 7,
        "created": iso(datetime(2026, 1, 1, tzinfo=UTC)),
        "origin": "trained",
        "labels": tiny_tflite.LABELS,
        "input": {**contract, "scale": 1 / 128, "zero_point": 128},
        "outputs": {"probabilities": {"name": "scores_quantised", "index": 0, "shape": (1, 3)}},
        "suggested_kinds": {"threat": ["red"]},
        **more,
    }
    return Manifest.model_validate(values)


def written(folder: Path, key: keys.SigningKey | None = KEY, **more: object) -> tuple[Path, Bundle]:
    said = manifest(**more)
    path = folder / said.file_name
    report = {"notes.md": b"looks right\n"}
    return path, bundle.write(path, said, tiny_tflite.model(), Golden(CROPS, CERTAIN), key, report)


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def signed_again(parts: dict[str, bytes], change: object = None) -> bytes:
    """A bundle by somebody with the key and bad intentions: `change` edits the manifest before it is signed."""
    said = json.loads(parts["manifest.json"])
    said["files"] = {n: hashlib.sha256(c).hexdigest() for n, c in parts.items() if not n.startswith("manifest.")}
    said |= change or {}  # type: ignore[operator]
    parts = {**parts, "manifest.json": json.dumps(said).encode()}
    return zipped({**parts, "manifest.sig": KEY.sign(parts["manifest.json"])})


def zipped(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    first = ("manifest.json", "manifest.sig", "model.tflite", "golden.npz")
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in [n for n in first if n in parts] + [n for n in parts if n not in first]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, method
            archive.writestr(info, parts[name])
    return file.getvalue()


def refused(path: Path, data: bytes, complaint: str, allow_unsigned: bool = False) -> None:
    path.write_bytes(data)
    with pytest.raises(BundleError, match=complaint) as caught:
        bundle.verify(path, [KEY.public], allow_unsigned)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("bundle"))[0]


def test_what_was_written_is_read_back(tiny: Path) -> None:
    found = bundle.verify(tiny, [KEY.public])
    assert found.signed_by == KEY.public
    assert (found.name, found.version, found.labels) == ("tiny", "1.0", tiny_tflite.LABELS)
    assert found.manifest.signer == KEY.public.fingerprint
    assert found.report == {"notes.md": b"looks right\n"}
    assert np.array_equal(found.golden.expected, CERTAIN)
    assert all(np.array_equal(a, b) for a, b in zip(found.golden.crops, CROPS, strict=True))
    assert found.sha256 == hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert bundle.read(tiny).signed_by is None


def test_the_same_content_gives_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert written(tmp_path / "a")[0].read_bytes() == written(tmp_path / "b")[0].read_bytes()


def test_a_python_that_would_write_another_zip_is_found_out() -> None:
    data = bundle._canonical({"manifest.json": b"{}", "model.tflite": b"m", "golden.npz": b"g", "report/a": b""})
    assert hashlib.sha256(data).hexdigest() == "4dbecb72dbe5ce625624b4d0bee32bc4156776beb13e239cddcd5f6e3858a38c"


def test_other_tools_find_model_and_labels(tiny: Path, tmp_path: Path) -> None:
    model = parts_of(tiny)["model.tflite"]
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        assert archive.read("labels.txt") == b"red\ngreen\nblue\n"
    assert model.startswith(tiny_tflite.model())


@given(st.data())
def test_every_changed_byte_is_refused(tiny: Path, data: st.DataObject) -> None:
    good = tiny.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    refused(
        tiny.with_name("changed.gander"), bytes(changed), "altered|not a bundle|cut short|holds|missing|stored|says it"
    )


@given(st.data())
def test_anything_cut_short_or_with_more_at_its_end_is_refused(tiny: Path, data: st.DataObject) -> None:
    good = tiny.read_bytes()
    length = data.draw(st.integers(0, len(good) - 1))
    refused(tiny.with_name("short.gander"), good[:length], "cut short|not a bundle")
    refused(tiny.with_name("long.gander"), good + good[: length + 1], "altered")


def test_a_key_that_is_not_trusted_is_named_with_what_to_do(tiny: Path) -> None:
    with pytest.raises(BundleError, match=f"unknown key {KEY.public.fingerprint}.*`gander bundle trust KEY.pub`"):
        bundle.verify(tiny, [])


def test_a_signature_by_another_key_than_the_named_is_altered(tiny: Path) -> None:
    other = keys.SigningKey(keys.Ed25519PrivateKey.generate())
    parts = parts_of(tiny)
    forged = zipped({**parts, "manifest.sig": other.sign(parts["manifest.json"])})
    refused(tiny.with_name("forged.gander"), forged, "altered: not what key")


def test_unsigned_is_accepted_only_when_allowed(tmp_path: Path) -> None:
    path, _ = written(tmp_path, key=None)
    with pytest.raises(BundleError, match="unsigned"):
        bundle.verify(path, [KEY.public])
    assert bundle.verify(path, [KEY.public], allow_unsigned=True).signed_by is None


def test_allowing_unsigned_does_not_allow_a_wrong_signature_or_a_changed_part(tiny: Path) -> None:
    parts = parts_of(tiny)
    other = keys.SigningKey(keys.Ed25519PrivateKey.generate())
    forged = zipped({**parts, "manifest.sig": other.sign(parts["manifest.json"])})
    refused(tiny.with_name("x.gander"), forged, "altered", allow_unsigned=True)
    bare = {name: content for name, content in parts.items() if name != "manifest.sig"}
    swapped = zipped({**bare, "model.tflite": tiny_tflite.model("int8")})
    refused(tiny.with_name("x.gander"), swapped, "altered: model.tflite", allow_unsigned=True)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "report/../../x", "report/a/b", "other", "report/"]
)
def test_no_other_names_are_let_in(tiny: Path, name: str) -> None:
    refused(tiny.with_name("x.gander"), signed_again({**parts_of(tiny), name: b"x"}), "a bundle has only")


def test_a_zip_bomb_is_refused_unopened(tiny: Path) -> None:
    bomb = zipped({**parts_of(tiny), "report/a": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    refused(tiny.with_name("x.gander"), bomb, "compressed")


def test_a_bomb_inside_the_golden_arrays_is_refused_unopened(tiny: Path) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, expected=CERTAIN, crop0=np.zeros((9000, 9000, 3), np.uint8))
    refused(tiny.with_name("x.gander"), signed_again({**parts_of(tiny), "golden.npz": file.getvalue()}), "too large")


def test_a_symlink_is_refused(tiny: Path) -> None:
    file = io.BytesIO(tiny.read_bytes())
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("report/link", (1980, 1, 1, 0, 0, 0))
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    refused(tiny.with_name("x.gander"), file.getvalue(), "altered")


def test_a_part_that_is_there_twice_or_too_many_are_refused(tiny: Path) -> None:
    good = tiny.read_bytes()
    name_length, size = struct.unpack_from("<H", good, 26)[0], struct.unpack_from("<I", good, 22)[0]
    entry = good[: 30 + name_length + size]
    refused(tiny.with_name("x.gander"), entry + good, "manifest.json twice")
    many = {**parts_of(tiny), **{f"report/{i:03}": b"" for i in range(80)}}
    refused(tiny.with_name("x.gander"), signed_again(many), "more than 64 parts")


def test_a_size_that_no_part_may_have_is_refused_before_anything_is_read(tiny: Path) -> None:
    good = bytearray(tiny.read_bytes())
    struct.pack_into("<II", good, 18, 0xFFFFFFFE, 0xFFFFFFFE)
    refused(tiny.with_name("x.gander"), bytes(good), "more than any such part")
    vast = tiny.with_name("vast.gander")
    with vast.open("wb") as file:
        os.truncate(file.fileno(), 300 * 1024 * 1024)  # a hole: it takes no room
    with pytest.raises(BundleError, match="too large"):
        bundle.read(vast)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "newer format 2, this Gander reads format 1: update Gander"),
        ({"format": 0}, "format"),
        ({"surprise": 1}, "surprise: unknown key"),
        ({"labels": ["red", "green"]}, "2 labels, but the output gives 3 scores"),
        ({"labels": ["red", "green", "green"]}, "each must be there once"),
        ({"labels": ["red", "green", "bl\nue"]}, "labels.2"),
        ({"name": "../x"}, "name"),
        ({"version": "1/2"}, "version"),
        ({"serial": -1}, "serial"),
        ({"calibration": {"temperature": 0}}, "temperature"),
        ({"calibration": {"temperature": float("nan")}}, "temperature"),
        ({"outputs": {}}, "either probabilities or logits"),
        ({"suggested_kinds": {"thief": []}}, "thief"),
        ({"files": {}}, "disagree"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_even_when_signed(
    tiny: Path, change: dict[str, object], complaint: str
) -> None:
    refused(tiny.with_name("x.gander"), signed_again(parts_of(tiny), change), complaint)


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format": "x"}'])
def test_a_manifest_that_is_none_is_refused(tiny: Path, said: bytes) -> None:
    refused(tiny.with_name("x.gander"), zipped({**parts_of(tiny), "manifest.json": said}), "altered|unknown key")
    signed = {**parts_of(tiny), "manifest.json": said, "manifest.sig": KEY.sign(said)}
    refused(tiny.with_name("x.gander"), zipped(signed), r"manifest\.json")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"expected": CERTAIN},
        {"expected": CERTAIN[:, :2], "crop0": CROPS[0], "crop1": CROPS[0], "crop2": CROPS[0]},
        {"expected": CERTAIN[:1] * np.nan, "crop0": CROPS[0]},
        {"expected": CERTAIN[:1], "crop0": CROPS[0][..., 0]},
        {"expected": CERTAIN[:1], "crop0": CROPS[0].astype(np.float32)},
        {"expected": np.array([object()]), "crop0": CROPS[0]},
    ],
)
def test_golden_answers_of_another_form_are_refused(tiny: Path, arrays: dict[str, np.ndarray]) -> None:
    file = io.BytesIO()
    np.savez(file, **arrays)
    bad = signed_again({**parts_of(tiny), "golden.npz": file.getvalue()})
    refused(tiny.with_name("x.gander"), bad, r"golden\.npz")


@given(st.binary(max_size=300))
def test_noise_is_refused_in_one_line(tiny: Path, noise: bytes) -> None:
    refused(tiny.with_name("noise.gander"), b"!" + noise, "not a bundle")
    refused(
        tiny.with_name("noise.gander"), b"PK\x03\x04" + noise, "cut short|a bundle has only|compressed|says it|missing"
    )
    refused(tiny.with_name("noise.gander"), signed_again({**parts_of(tiny), "golden.npz": noise}), r"golden\.npz")


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        bundle.read(tmp_path / "none.gander")
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        bundle.read(tmp_path)
    with pytest.raises(BundleError, match="cannot be written"):
        written(tmp_path / "no such folder")
    assert list(tmp_path.iterdir()) == []


def test_the_self_test_passes_on_golden_answers_and_fails_off_them(tiny: Path, tmp_path: Path) -> None:
    passed = self_test(bundle.read(tiny))
    assert passed.worst < 0.02
    assert passed.invoke_ms > 0
    wrong = Golden(CROPS, np.roll(CERTAIN, 1, axis=1))
    off = bundle.write(tmp_path / "off.gander", manifest(), tiny_tflite.model(), wrong, KEY)
    with pytest.raises(BundleError, match=r"off its golden answers by 1\.00"):
        self_test(off)


def test_the_self_test_refuses_a_model_that_does_not_load_or_answer_in_time(tmp_path: Path) -> None:
    broken = bundle.write(tmp_path / "b.gander", manifest(), tiny_tflite.model()[:600], Golden(CROPS, CERTAIN), KEY)
    with pytest.raises(BundleError, match="cannot load it"):
        self_test(broken)
    with pytest.raises(BundleError, match="no answer within 0 s"):
        run_apart(tiny_tflite.model(), manifest(), CROPS, timeout_s=0.01)


def test_a_model_that_takes_its_process_down_takes_nobody_along() -> None:
    slow = tiny_tflite.model(size=(2048, 2048))
    contract = {**manifest().input.model_dump(), "shape": (1, 2048, 2048, 3)}
    told: list[str] = []

    def try_it() -> None:
        with pytest.raises(BundleError) as caught:
            run_apart(slow, manifest(input=contract), CROPS * 20)
        told.append(str(caught.value))

    thread = threading.Thread(target=try_it)
    thread.start()
    children = Path(f"/proc/self/task/{thread.native_id}/children")
    while thread.is_alive() and not (found := children.read_text().split()):
        time.sleep(0.001)
    os.kill(int(found[0]), signal.SIGSEGV)
    thread.join()
    assert told == ["tiny 1.0: the model ended its process by SIGSEGV"]


def test_keys_are_made_once_private_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    key = keys.load_or_generate(path, "henhouse 1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = keys.load_or_generate(path)
    assert again.public == key.public
    assert again.comment == "henhouse 1"
    assert keys.load_public(keys.public_path(path)) == key.public
    assert keys.public_path(path).read_text() == key.public.line
    assert key.public.signed(key.sign(b"data"), b"data")
    assert not key.public.signed(key.sign(b"data"), b"dato")
    assert len(key.public.fingerprint) == 16
    with pytest.raises(Refused, match="there is a key already"):
        keys.generate(path)
    assert keys.load(path).public == key.public
    assert sorted(p.name for p in tmp_path.iterdir()) == ["device.key", "device.key.pub"]


def test_a_key_whose_public_half_a_power_cut_took_gets_it_again(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    key = keys.generate(path, "henhouse 1")
    keys.public_path(path).unlink()
    assert keys.load_or_generate(path, "henhouse 1").public == key.public
    assert keys.public_path(path).read_text() == key.public.line


def test_wrong_key_files_are_refused_in_one_line(tmp_path: Path) -> None:
    keys.generate(tmp_path / "k")
    for text in ("", "gander-ed25519 AAAA", "ssh-ed25519 " + "A" * 43 + "=", "a\nb", "gander-ed25519 \u00e4 x"):
        (tmp_path / "wrong.pub").write_text(text)
        with pytest.raises(Refused, match=r"^[^\n]*not a public key[^\n]*$"):
            keys.load_public(tmp_path / "wrong.pub")
        with pytest.raises(Refused, match="not a private key"):
            keys.load(tmp_path / "wrong.pub")
    with pytest.raises(Refused, match=r"this is a private key.*give its \.pub"):
        keys.load_public(tmp_path / "k")
    with pytest.raises(Refused, match="cannot be read"):
        keys.load_public(tmp_path / "none.pub")
    with pytest.raises(StateError, match="cannot be written"):
        keys.generate(tmp_path / "no such folder" / "k")
    with pytest.raises(Refused, match="on one line"):
        keys.generate(tmp_path / "k2", "two\nlines")


def test_a_name_without_a_version_means_the_newest_installed(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for version, serial in (("9", 9), ("10", 10), ("2", 2)):
        written(folder, version=version, serial=serial)
    written(folder, name="tiny-other", serial=99)
    store = ModelStore(tmp_path, ModelsConfig())
    assert [store.find(name).name for name in ("tiny", "tiny-9")] == ["tiny-10.gander", "tiny-9.gander"]
    with pytest.raises(BundleError, match=r"small: is not installed; there are: tiny-10, "):
        store.find("small")
