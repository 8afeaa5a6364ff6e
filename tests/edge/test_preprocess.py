"""The crop and the tensor: geometry, every dtype against plain arithmetic."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.preprocess import CropSpec, InputSpec, crop_box, prepare, square_crop
from edge.values import WHOLE, Box

fractions = st.floats(0, 1)


def spec(dtype: str = "uint8", size: tuple[int, int] = (32, 32), **more: object) -> InputSpec:
    given = {"float32": (127.5, 127.5, 1.0, 0), "uint8": (128, 128, 1 / 128, 128), "int8": (128, 128, 1 / 128, 0)}
    mean, std, scale, zero_point = given[dtype]
    values = {"mean": (mean,) * 3, "std": (std,) * 3, "scale": scale, "zero_point": zero_point, **more}
    return InputSpec.model_validate({"shape": (1, *size, 3), "dtype": dtype, **values})


def noise(height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(1, 400), st.integers(1, 400), fractions, fractions, fractions, fractions, st.floats(0, 2))
def test_a_crop_lies_inside_holds_the_box_and_is_square_where_it_can_be(
    height: int, width: int, x: float, y: float, w: float, h: float, margin: float
) -> None:
    box = Box(x, y, min(w, 1 - x), min(h, 1 - y))
    image = np.zeros((height, width, 3), np.uint8)
    crop = square_crop(image, box, margin)
    assert crop.size
    assert np.shares_memory(crop, image)
    tall, wide = crop.shape[:2]
    if max(box.w * width, box.h * height) <= min(height, width):
        assert abs(tall - wide) <= 1
    drawn = crop_box(image, box, margin)
    assert (round(drawn.w * width), round(drawn.h * height)) == (wide, tall)
    for low, high, start, end in (
        (drawn.x * width, (drawn.x + drawn.w) * width, box.x * width, (box.x + box.w) * width),
        (drawn.y * height, (drawn.y + drawn.h) * height, box.y * height, (box.y + box.h) * height),
    ):
        assert low <= start + 1
        assert high >= end - 1


def test_a_square_at_the_border_is_moved_inward_and_keeps_its_size() -> None:
    image = noise(720, 1280)
    inside = square_crop(image, Box(0.4, 0.4, 0.1, 0.1), margin=0.5)
    corner = square_crop(image, Box(0.95, 0.0, 0.05, 0.1), margin=0.5)
    assert inside.shape == (256, 256, 3)
    assert corner.shape[0] == corner.shape[1] == 144
    assert np.array_equal(corner, image[:144, -144:])


def test_a_square_larger_than_the_picture_gives_up_margin_then_squareness_never_the_visitor() -> None:
    image = noise(720, 1280)
    assert square_crop(image, Box(0.3, 0.2, 0.5, 0.5), margin=0.4).shape == (720, 720, 3)
    assert square_crop(image, Box(0.1, 0.2, 0.8, 0.5), margin=0.4).shape == (720, 1024, 3)
    assert square_crop(image, WHOLE, margin=0.4).shape == (720, 1280, 3)


def test_a_speck_is_shown_with_what_is_around_it() -> None:
    assert square_crop(noise(100, 100), Box(0.5, 0.5, 0.0, 0.0)).shape == (32, 32, 3)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("source", [(32, 32), (70, 45), (10, 20)])
def test_every_dtype_agrees_with_plain_arithmetic(dtype: str, source: tuple[int, int]) -> None:
    image, wanted = noise(*source), spec(dtype, mean=(120, 110, 130), std=(100, 128, 90))
    shrinks = source[0] >= 32 and source[1] >= 32
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    real = (small.astype(np.float64) - wanted.mean) / wanted.std
    if dtype != "float32":
        low, high = (0, 255) if dtype == "uint8" else (-128, 127)
        real = np.clip(np.rint(real / wanted.scale + wanted.zero_point), low, high)
    tensor = prepare(image, wanted)
    assert tensor.dtype == dtype
    assert tensor.shape == (1, 32, 32, 3)
    assert np.allclose(tensor[0], real, atol=1e-6)


def test_quantised_inputs_take_pixels_as_they_are() -> None:
    image = noise(32, 32)
    assert np.array_equal(prepare(image, spec("uint8"))[0], image)
    assert np.array_equal(prepare(image, spec("int8"))[0], image.astype(np.int16) - 128)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_colours_can_be_swapped_and_the_tensor_written_where_it_is_wanted(dtype: str) -> None:
    image, memory = noise(64, 64), np.zeros((1, 32, 32, 3), dtype)
    tensor = prepare(image, spec(dtype, color="bgr"), out=memory)
    assert np.array_equal(memory, prepare(image[..., ::-1].copy(), spec(dtype)))
    assert np.shares_memory(tensor, memory)
    assert not np.array_equal(memory, prepare(image, spec(dtype)))


def test_any_proportions_are_stretched_and_the_crop_is_left_alone() -> None:
    image = noise(90, 200)
    before = image.copy()
    view = square_crop(image, Box(0.2, 0.2, 0.3, 0.3))
    for crop in (image, view, image[:1, :1]):
        assert prepare(crop, spec(size=(24, 48))).shape == (1, 24, 48, 3)
    assert np.array_equal(image, before)


def test_shrinking_averages_where_bilinear_leaves_out() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::8] = 255
    assert (prepare(stripes, spec()) == 32).all()
    assert (prepare(stripes, spec(resize="bilinear")) == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"std": (1, 0, 1)},
        {"mean": (float("nan"), 0, 0)},
        {"scale": 0},
        {"zero_point": 300},
        {"color": "grey"},
        {"resize": "lanczos"},
        {"shape": (1, 32, 32, 1)},
        {"shape": (2, 32, 32, 3)},
        {"shape": (1, 4, 32, 3)},
        {"shape": (1, 99_999, 32, 3)},
        {"dtype": "float16"},
        {"padding": 1},
        {"dtype": "float32", "scale": 2.0},
    ],
)
def test_a_contract_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    good = spec().model_dump()
    with pytest.raises(ValidationError):
        InputSpec.model_validate({**good, **wrong})


def test_a_margin_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValidationError):
        CropSpec(margin=-0.1)
