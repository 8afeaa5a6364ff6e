"""The decoy: exactly the bytes the models were shown, each content once, within its limit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.decoy import Decoys, content, load
from edge.errors import Refused
from edge.values import Image

crops = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


def noise(seed: int, side: int = 40) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def where(state: Path, name: str) -> Path:
    return state / "decoy" / name[:2] / f"{name}.png"


@settings(max_examples=50, deadline=None)
@given(crops)
def test_what_comes_back_is_what_was_shown(tmp_path_factory: pytest.TempPathFactory, crop: Image) -> None:
    state = tmp_path_factory.mktemp("decoy")
    name = content(crop)
    assert Decoys(state, 10**6).keep(crop, name) > 0
    back = load(state, name)
    assert back.dtype == np.uint8
    assert np.array_equal(back, crop)


def test_a_view_into_a_larger_picture_and_its_copy_are_one_content(tmp_path: Path) -> None:
    picture = noise(1)
    view = picture[3:20, 5:30]
    decoys = Decoys(tmp_path, 10**6)
    assert decoys.keep(view, content(view)) > 0
    assert decoys.keep(view.copy(), content(view.copy())) == 0, "each content once"
    assert decoys.look() == 1
    assert content(np.zeros((2, 3, 3), np.uint8)) != content(np.zeros((3, 2, 3), np.uint8))


def test_the_oldest_make_room_also_after_a_restart(tmp_path: Path) -> None:
    decoys = Decoys(tmp_path, 10**6)
    names = [content(noise(seed)) for seed in range(4)]
    sizes = [decoys.keep(noise(seed), name) for seed, name in enumerate(names[:3])]
    for age, name in enumerate(names[:3]):
        os.utime(where(tmp_path, name), (1000 + age, 1000 + age))
    (tmp_path / "decoy" / "ab").mkdir(exist_ok=True)
    half = tmp_path / "decoy" / "ab" / ".half.png.x1"
    half.write_bytes(b"x")
    again = Decoys(tmp_path, sum(sizes))
    assert again.look() == 3
    assert again.kept_bytes == sum(sizes)
    assert not half.exists()
    assert again.keep(noise(3), names[3]) > 0
    assert again.kept_bytes <= sum(sizes)
    assert not where(tmp_path, names[0]).exists()
    assert where(tmp_path, names[2]).exists()
    assert where(tmp_path, names[3]).exists()
    with pytest.raises(Refused, match=r"older ones make room"):
        load(tmp_path, names[0])


def test_what_is_larger_than_all_the_room_is_not_kept(tmp_path: Path) -> None:
    decoys = Decoys(tmp_path, 5000)
    small = noise(1, 8)
    assert decoys.keep(small, content(small)) > 0
    assert decoys.keep(noise(2, 60), content(noise(2, 60))) == 0
    assert where(tmp_path, content(small)).exists(), "and nothing goes for it"


@pytest.mark.parametrize("change", ["cut", "emptied", "other", "turned"])
def test_a_damaged_one_is_refused_in_one_line(tmp_path: Path, change: str) -> None:
    crop, other = noise(1), noise(2)
    decoys = Decoys(tmp_path, 10**6)
    for image in (crop, other):
        decoys.keep(image, content(image))
    path = where(tmp_path, content(crop))
    data = path.read_bytes()
    changed = {
        "cut": data[: len(data) // 2],
        "emptied": b"",
        "other": where(tmp_path, content(other)).read_bytes(),
        "turned": data[:-50] + bytes([data[-50] ^ 1]) + data[-49:],
    }
    path.write_bytes(changed[change])
    with pytest.raises(Refused, match="damaged") as refused:
        load(tmp_path, content(crop))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "..", "A" * 64, "../../etc/passwd", "0" * 63])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="no such name"):
        load(tmp_path, name)
