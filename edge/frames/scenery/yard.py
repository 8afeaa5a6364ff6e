"""The yard: sky, trees, a fence, grass and a nest box with eggs in it. Painted once, then only looked at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames.scenery.brush import Colour, Floats, Point, grain, mix, varied

HORIZON = 0.40  # where the ground begins, in fractions of the height
_STRAW: Colour = (0.82, 0.66, 0.32)
_EGG: Colour = (0.95, 0.88, 0.79)


@dataclass(frozen=True, slots=True)
class Yard:
    """The painted background, float32[H, W, 3] RGB 0..1, and where its places are (fractions of the picture)."""

    picture: Floats
    ledge: Point  # the perch before the nests, where a thief lands
    box: Point  # the middle of the nest box


def paint_yard(width: int, height: int, rng: np.random.Generator) -> Yard:
    """One yard; every `rng` gives another one."""
    picture = np.zeros((height, width, 3), np.float32)
    _sky(picture, rng)
    _trees(picture, rng)
    _grass(picture, rng)
    _fence(picture, rng)
    left = float(rng.uniform(0.56, 0.66))
    ledge = _nest_box(picture, rng, left)
    picture[:] = cv2.GaussianBlur(picture, (0, 0), height / 1100)  # a lens is never as sharp as a brush
    return Yard(np.clip(picture, 0.0, 1.0), ledge, (left + 0.12, 0.50))


def _sky(picture: Floats, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    rows = round(height * (HORIZON + 0.05))
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    high, low = np.array(varied((0.36, 0.58, 0.86), rng), np.float32), np.array((0.84, 0.90, 0.94), np.float32)
    clouds = grain((rows, width), rng, 0.10 * height, 0.03 * height)
    clouds = clouds + 0.5 * grain((rows, width), rng, 0.03 * height, 0.012 * height)
    cover = np.clip(clouds * 0.5 - 0.15, 0.0, 0.9)[..., None]
    picture[:rows] = (high + (low - high) * fall) * (1 - cover) + np.float32(0.97) * cover


def _trees(picture: Floats, rng: np.random.Generator) -> None:
    """Two rows of leafy crowns, the far one in the haze."""
    height, width = picture.shape[:2]
    for base, tall, haze in ((0.34, 0.17, 0.35), (0.43, 0.25, 0.0)):
        crowns = np.zeros((height, width), np.uint8)
        x = -0.05
        while x < 1.05:
            centre = round(x * width), round((base - tall * rng.uniform(0.25, 0.6)) * height)
            radii = round(height * rng.uniform(0.06, 0.13)), round(height * tall * rng.uniform(0.5, 0.8))
            cv2.ellipse(crowns, centre, radii, 0, 0, 360, 255, cv2.FILLED, cv2.LINE_AA)
            x += rng.uniform(0.03, 0.09)
        crowns[round((base - 0.03) * height) : round((HORIZON + 0.05) * height)] = 255
        ragged = grain((height, width), rng, 0.010 * height, 0.010 * height)
        soft = cv2.GaussianBlur(crowns, (0, 0), height / 120).astype(np.float32) / 255
        cover = np.clip(soft * 3 - 1 + ragged * 0.35, 0, 1)
        cover[round((HORIZON + 0.05) * height) :] = 0
        leaves = 1 + 0.26 * grain((height, width), rng, 0.004 * height, 0.004 * height) + 0.12 * ragged
        leaves += 0.16 * grain((height, width), rng, 0.035 * height, 0.030 * height)
        green = mix(varied((0.17, 0.31, 0.13), rng), (0.66, 0.76, 0.80), haze)
        _over(picture, np.clip(1 + (leaves - 1) * (1 - haze), 0.3, 1.8)[..., None] * np.array(green, np.float32), cover)


def _grass(picture: Floats, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    top = round(HORIZON * height)
    rows = height - top
    near = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    far_green, near_green = varied((0.53, 0.58, 0.31), rng, 0.04), varied((0.31, 0.41, 0.17), rng, 0.04)
    part = near[..., None]
    ground = np.array(far_green, np.float32) * (1 - part) + np.array(near_green, np.float32) * part
    patches = grain((rows, width), rng, 0.16 * height, 0.04 * height)
    mown = 1 + 0.09 * patches + 0.06 * grain((rows, width), rng, 0.02 * height, 0.006 * height)
    picture[top:] = ground * mown[..., None]
    bare = np.clip(grain((rows, width), rng, 0.22 * height, 0.05 * height) * 0.7 - 0.75, 0, 0.75)
    _over(picture[top:], np.broadcast_to(np.array((0.52, 0.42, 0.28), np.float32), (rows, width, 3)), bare)
    _blades(picture, top, rng)


def _blades(picture: Floats, top: int, rng: np.random.Generator) -> None:
    """Single blades, longer towards us, in tufts."""
    height, width = picture.shape[:2]
    count = 16000
    depth = rng.random(count) ** 0.75
    xs, ys = rng.integers(0, width, count), (top + depth * (height - top)).astype(int)
    lengths, lean = (0.004 + 0.024 * depth) * height * rng.uniform(0.5, 1.4, count), rng.normal(0, 0.35, count)
    tones = rng.uniform(-0.085, 0.10, count)
    for index in np.argsort(depth):
        x, y, length = int(xs[index]), int(ys[index]), lengths[index]
        base = picture[min(y, height - 1), x]
        tip = int(x + lean[index] * length), int(y - length)
        tone = tones[index]
        colour = (float(base[0] + tone), float(base[1] + tone * 1.15), float(base[2] + tone * 0.5))
        cv2.line(picture, (x, y), tip, colour, 1 + int(depth[index] + tone > 0.88))


def _fence(picture: Floats, rng: np.random.Generator) -> None:
    """Weathered boards with rails behind the gaps, and their shadow on the grass."""
    height, width = picture.shape[:2]
    top, bottom = 0.235, HORIZON + 0.055
    shade = np.zeros((height, width), np.float32)
    shade[round(bottom * height) : round((bottom + 0.035) * height)] = 0.5
    _over(picture, np.zeros_like(picture), cv2.GaussianBlur(shade, (0, 0), height / 90))
    wood = varied((0.55, 0.45, 0.35), rng)
    for y in (top + 0.05, bottom - 0.05):
        _board(picture, (0.0, y), (1.0, y + 0.022), mix(wood, (0, 0, 0), 0.35), rng, upright=False)
    x, board = -0.01, 0.030
    while x < 1.0:
        jitter = rng.uniform(-0.006, 0.006)
        weathered = mix(wood, (0.25, 0.22, 0.20), rng.uniform(0, 0.35))
        _board(picture, (x, top + jitter), (x + board, bottom), weathered, rng)
        x += board + 0.0045
    post = mix(wood, (0, 0, 0), 0.25)
    for x in np.arange(rng.uniform(0.0, 0.1), 1.0, 0.235):
        _board(picture, (x, top - 0.02), (x + 0.017, bottom + 0.012), post, rng)


def _board(
    picture: Floats, start: Point, end: Point, colour: Colour, rng: np.random.Generator, upright: bool = True
) -> None:
    """A plank between two corners (fractions), with grain along it, lit at its upper left edge."""
    height, width = picture.shape[:2]
    left, right = (round(min(max(x, 0.0), 1.0) * width) for x in (start[0], end[0]))
    top, bottom = (round(min(max(y, 0.0), 1.0) * height) for y in (start[1], end[1]))
    if right <= left or bottom <= top:
        return
    shape = bottom - top, right - left
    along, across = 0.05 * height, max(0.0016 * height, 1.0)
    lines = grain(shape, rng, *((across, along) if upright else (along, across)))
    tone = np.clip(1 + 0.09 * lines + 0.05 * rng.standard_normal(), 0.4, 1.6)
    edge = max(1, round(height / 400))
    tone[:, :edge] *= 1.22
    tone[:edge] *= 1.22
    tone[:, -edge:] *= 0.6
    tone[-edge:] *= 0.7
    picture[top:bottom, left:right] = tone[..., None] * np.array(colour, np.float32)


def _nest_box(picture: Floats, rng: np.random.Generator, left: float) -> Point:
    """Three nests under a sloping roof, straw and eggs in them. Returns the middle of the perch."""
    height, width = picture.shape[:2]
    right, top, bottom = left + 0.25, 0.40, 0.64
    wood = varied((0.66, 0.46, 0.27), rng)
    shade = np.zeros((height, width), np.float32)
    _polygon(shade, [(left + 0.01, 0.725), (right, 0.725), (right + 0.07, 0.765), (left + 0.06, 0.765)], 0.55)
    _over(picture, np.zeros_like(picture), cv2.GaussianBlur(shade, (0, 0), height / 70))
    for x in (left + 0.012, right - 0.030):
        _board(picture, (x, bottom), (x + 0.018, 0.735), mix(wood, (0, 0, 0), 0.4), rng)
    for row in range(4):
        y = top + row * 0.06
        tone = mix(wood, (0.3, 0.2, 0.1), rng.uniform(0, 0.2))
        _board(picture, (left, y), (right, y + 0.06), tone, rng, upright=False)
    third = (right - left - 0.02) / 3
    for index in range(3):
        x = left + 0.012 + index * third + 0.004
        _nest(picture, rng, (x, top + 0.075), (x + third - 0.008, bottom - 0.030), eggs=int(rng.integers(1, 4)))
    ledge = bottom + 0.012
    pale = mix(wood, (1, 1, 1), 0.15)
    _board(picture, (left - 0.008, bottom - 0.008), (right + 0.008, bottom + 0.022), pale, rng, upright=False)
    eaves, ridge = top + 0.025, top - 0.055
    roof = [(left - 0.025, eaves), (left + 0.012, ridge), (right - 0.012, ridge), (right + 0.025, eaves)]
    under = np.zeros((height, width), np.float32)
    _polygon(under, [(left, top + 0.02), (right, top + 0.02), (right, top + 0.055), (left, top + 0.055)], 0.55)
    _over(picture, np.zeros_like(picture), cv2.GaussianBlur(under, (0, 0), height / 140))
    cover = np.zeros((height, width), np.float32)
    _polygon(cover, roof, 1.0)
    tiles = 1 + 0.10 * grain((height, width), rng, 0.03 * height, 0.004 * height)
    rise = np.clip((np.arange(height, dtype=np.float32) / height - top + 0.055) / 0.08, 0, 1)[:, None]
    slate = np.array(varied((0.42, 0.22, 0.18), rng), np.float32)
    _over(picture, (tiles * (1.25 - 0.35 * rise))[..., None] * slate, cover)
    _board(picture, (left - 0.025, top + 0.018), (right + 0.025, top + 0.032), (0.30, 0.16, 0.13), rng, upright=False)
    return (left + right) / 2, ledge


def _nest(picture: Floats, rng: np.random.Generator, start: Point, end: Point, eggs: int) -> None:
    """One dark opening with a bed of straw."""
    height, width = picture.shape[:2]
    hole = np.zeros((height, width), np.float32)
    arch = end[0] - start[0]
    spring, corner = start[1] + 0.03, arch * 0.2
    outline = [(start[0], end[1]), (start[0], spring), (start[0] + corner, start[1])]
    _polygon(hole, [*outline, (end[0] - corner, start[1]), (end[0], spring), end], 1.0)
    _over(picture, np.broadcast_to(np.array((0.10, 0.07, 0.05), np.float32), picture.shape), hole)
    floor = end[1] - 0.004
    for index in range(eggs):
        x = start[0] + arch * (0.3 + 0.4 * (index + 0.5) / eggs)
        egg = np.zeros((height, width), np.float32)
        at, radii = (round(x * width), round((floor - 0.022) * height)), (round(0.013 * height), round(0.017 * height))
        cv2.ellipse(egg, at, radii, 0, 0, 360, 1.0, cv2.FILLED)
        rows = np.clip((np.arange(height, dtype=np.float32) - at[1]) / radii[1], -1, 1)[:, None, None]
        _over(picture, (0.92 - 0.22 * rows) * np.array(varied(_EGG, rng, 0.04), np.float32), egg)
    for _ in range(170):
        x = rng.uniform(start[0] + 0.002, end[0] - 0.002)
        drop = 0.020 * (1 - abs(x - (start[0] + end[0]) / 2) / arch)
        begin = round(x * width), round((floor - rng.uniform(0, 0.022 - drop * 0.55)) * height)
        reach = round(rng.uniform(-0.014, 0.014) * width), round(rng.uniform(-0.007, 0.007) * height)
        inside = min(max(begin[0] + reach[0], round(start[0] * width)), round(end[0] * width))
        finish = inside, min(begin[1] + reach[1], round(end[1] * height))
        tone = rng.uniform(0.65, 1.15)
        cv2.line(picture, begin, finish, (_STRAW[0] * tone, _STRAW[1] * tone, _STRAW[2] * tone), 1)


def _polygon(cover: Floats, points: list[Point], value: float) -> None:
    height, width = cover.shape
    cv2.fillPoly(cover, [np.rint(np.array(points) * (width, height)).astype(np.int32)], value)


def _over(picture: Floats, paint: NDArray[np.floating], cover: NDArray[np.floating | np.integer]) -> None:
    picture += (paint - picture) * cover[..., None]
