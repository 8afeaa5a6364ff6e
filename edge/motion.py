"""Where something moves: a background model of the small stream, adaptive to noise, calm about light."""

from __future__ import annotations

import logging
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.config import CameraConfig, MotionConfig
from edge.values import Box, Frame, Luma, Motion

log = logging.getLogger(__name__)

Outline = NDArray[np.int32]
"""int32[n, 1, 2], points x, y at the working size."""

WIDTH = 320  # pixels across at most while looking: a whole-number shrink is nearly free, and birds stay whole
LEARN_S, LEARN_FRAMES = 0.5, 5  # a background is trusted after both
STILL_S = 6.0  # what does not move is learnt with this time constant: clouds, the sun's path
MOVING_S = 45.0  # and what moves with this one: a hen that stands stays, a bucket put down is scenery in a minute
RESTLESS = 4.0  # a thing that changes less than this from frame to frame stands still
NOISE_S = 8.0  # a pixel's own noise: leaves, compression, night gain
NOISE_MOVING_S = 20.0  # slower where something moves, or a twig that never rests would never be learnt
NOISES = 4.0  # this many times its noise is a change
NOISE_CAP = 12.0  # one passing hen must not make a pixel deaf
WEAK = 0.5  # a thing found by a full change extends over all neighbouring pixels with this part of one
ABSENT_S = 15.0  # a camera away for longer comes back to other light: its old background is no use
AFTER_S = 3.0  # after a deterrent acted: afterglow, exposure, wet ground
ALIKE, TEXTURE, PATCH = 0.7, 3.0, 7  # a patch with a texture, and this like the background, is it in other light
BLOCK = 16  # side of the blocks in which texture is compared


class MotionDetector:
    """Finds what moves in one camera's small stream. Time is each frame's `media_time`; nothing else is read.

    Zones limit where motion counts. While a frame is `disturbed` nothing is learnt from it, and for some seconds after
    it what is the same thing in other light (afterglow, wet ground) is no motion.
    """

    def __init__(self, config: MotionConfig, camera: CameraConfig) -> None:
        self._config = config
        self._zones = [np.array(zone, np.float64) for zone in camera.zones]
        self._scene: _Scene | None = None

    def look(self, frame: Frame) -> Motion:
        """Compare `frame.luma` (uint8[h, w], any size) with the background, then learn from it."""
        size = frame.luma.shape
        if self._scene is None or self._scene.size != size:
            self._scene = _Scene(size, self._config, self._zones)
        boxes = self._scene.look(frame.luma, frame.media_time, frame.disturbed)
        return Motion(frame, boxes or (), recalibrating=boxes is None)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Pixels of the last look's boxes: uint8[h, w] at the working size, 255 where something moves.

        A live buffer, changed by the next look.
        """
        if self._scene is None:
            return np.zeros((1, 1), np.uint8)
        return self._scene.moving


class _Scene:
    """The background of one size of picture, with every buffer made once."""

    def __init__(self, size: tuple[int, ...], config: MotionConfig, zones: list[NDArray[np.float64]]) -> None:
        self.size = size
        self._config = config
        self._factor = max(1, math.ceil(size[1] / WIDTH))
        shape = self._height, self._width = max(1, size[0] // self._factor), max(1, size[1] // self._factor)
        self._background = np.zeros(shape, np.float32)
        self._noise = np.zeros(shape, np.float32)
        self._now, self._before, self._expected, self._change, self._strong, self._weak, self._limit, self._step = (
            np.zeros(shape, np.uint8) for _ in range(8)
        )
        self.moving = np.zeros(shape, np.uint8)
        self._still = np.zeros(shape, np.uint8)
        self._ghost = np.zeros(shape, np.uint8)
        self._near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        self._zone = self._draw(zones) if zones else None
        self._gain = 1.0
        self._at: float | None = None
        self._learnt = 0
        self._learning_since = 0.0
        self._disturbed_at = -math.inf
        self._frozen = self._background  # as it was before a deterrent acted

    def look(self, luma: Luma, media_time: float, disturbed: bool) -> tuple[Box, ...] | None:
        """Boxes of what moves, or None while nothing is trusted."""
        self._shrink(luma)
        elapsed = 0.0 if self._at is None else max(media_time - self._at, 0.0)
        if self._at is not None and not 0.0 <= media_time - self._at <= ABSENT_S:
            self._learnt = 0  # the source began again, or comes back
            self._disturbed_at = -math.inf
        self._at = media_time
        if disturbed:
            if media_time - self._disturbed_at >= AFTER_S:
                self._frozen = self._background.copy()
            self._disturbed_at = media_time
        since = media_time - self._disturbed_at
        if self._learnt < LEARN_FRAMES or media_time - self._learning_since < LEARN_S:
            self.moving.fill(0)
            if not disturbed:
                self._learn_at_once(media_time)
            return None
        self._compare()
        relit = self._light_changed()
        if since < AFTER_S:
            self._forgive(relit, disturbed)
        if relit and not disturbed:
            self.moving.fill(0)
            if since >= AFTER_S:
                log.debug("the light changed at %.2f s: learning anew", media_time)
                self._learnt = 0
                self._learn_at_once(media_time)
            return None
        outlines, boxes = self._things()
        self.moving.fill(0)
        if outlines:
            cv2.drawContours(self.moving, outlines, -1, 255, cv2.FILLED)
        if not disturbed:
            self._learn(media_time, elapsed, outlines)
        return boxes

    def _draw(self, zones: list[NDArray[np.float64]]) -> NDArray[np.uint8]:
        mask = np.zeros_like(self.moving)
        scale = (self._width, self._height)
        cv2.fillPoly(mask, [np.rint(zone * scale).astype(np.int32) for zone in zones], 255)
        return mask

    def _shrink(self, luma: Luma) -> None:
        self._now, self._before = self._before, self._now
        # Cut to a multiple of the factor: averaging whole squares is thirty times as fast as any other ratio.
        whole = luma[: self._height * self._factor, : self._width * self._factor]
        cv2.resize(whole, (self._width, self._height), dst=self._now, interpolation=cv2.INTER_AREA)

    def _learn_at_once(self, media_time: float) -> None:
        """The plain mean of the first frames, and how far they are from it."""
        if self._learnt == 0:
            self._learning_since = media_time
            self._gain = 1.0
            self._noise.fill(2.0)
        else:
            self._measure()
            cv2.accumulateWeighted(self._change, self._noise, 0.1)
        self._learnt += 1
        cv2.accumulateWeighted(self._now, self._background, 1.0 / self._learnt)

    def _measure(self) -> None:
        """How far each pixel is from what is expected there, smoothed over 3x3."""
        # The 8 keeps a ratio of two nearly black pixels near 1.
        cv2.convertScaleAbs(self._background, dst=self._expected, alpha=self._gain, beta=8.0 * (self._gain - 1.0))
        cv2.absdiff(self._now, self._expected, dst=self._change)
        cv2.blur(self._change, (3, 3), dst=self._change)

    def _compare(self) -> None:
        """Mark what changed: `_strong` is a change for certain, `_weak` a part of one."""
        self._gain = self._exposure()
        self._measure()
        for mask, part in ((self._strong, 1.0), (self._weak, WEAK)):
            least = self._config.threshold * part
            cv2.convertScaleAbs(self._noise, dst=self._limit, alpha=NOISES * part, beta=least)
            cv2.compare(self._change, self._limit, cv2.CMP_GT, dst=mask)

    def _exposure(self) -> float:
        """How much brighter the picture as a whole is than the background: the camera's exposure at work."""
        ratios = (self._now[::8, ::8] + 8.0) / (self._background[::8, ::8] + 8.0)
        gain = float(np.median(ratios))
        # A large dark animal is no exposure: only a ratio that much of the picture shares is believed.
        shared = float(np.mean(np.abs(ratios - gain) < 0.1 * gain))
        return gain if shared > 0.4 else self._gain

    def _light_changed(self) -> bool:
        """Whether the change is light on the same things: much has changed, but its texture is what it was.

        A crow that lands before the lens changes as much, but brings its own texture.
        """
        share = cv2.countNonZero(self._strong) / self._strong.size
        if share < self._config.whole_frame / 2:
            return False
        same = self._same_texture()
        if same is None:
            return share > self._config.whole_frame
        return same > 0.6 or share > 0.9

    def _same_texture(self) -> float | None:
        """Share of the changed, textured blocks that look as before but for brightness and contrast.

        None where too few have a texture to tell.
        """
        rows, columns = self._height // BLOCK, self._width // BLOCK

        def blocks(values: NDArray[np.generic]) -> NDArray[np.float32]:
            cut = values[: rows * BLOCK, : columns * BLOCK].astype(np.float32)
            return cut.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK * BLOCK)

        now, then = blocks(self._now), blocks(self._background)
        now -= now.mean(1, keepdims=True)
        then -= then.mean(1, keepdims=True)
        spread = now.std(1) * then.std(1)
        telling = (blocks(self._strong).mean(1) > 80) & (spread > 16.0)
        if np.count_nonzero(telling) < 6:
            return None
        alike = (now * then).mean(1)[telling] / spread[telling]
        return float(np.mean(alike > 0.6))

    def _forgive(self, relit: bool, disturbed: bool) -> None:
        """What has the background's texture is the same in other light: no change. Afterwards it is learnt at once.

        Where all is `relit`, what has no texture to tell is believed to be the same too.
        """
        # Without what is coarse: light falls off, and a wet place has an edge.
        now, then = (values - _near(values) for values in (self._now.astype(np.float32), self._frozen))
        now_spread, then_spread, together = _near(now * now), _near(then * then), _near(now * then)
        for across, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):  # a twig that sways is where it was, nearly
            together = np.maximum(together, _near(now * np.roll(then, (down, across), (0, 1))))
        telling = then_spread > TEXTURE**2
        # Who covers what is plain brings an edge of his own.
        same = np.where(telling, together > ALIKE * np.sqrt(now_spread * then_spread), now_spread <= TEXTURE**2)
        if relit or disturbed:
            same |= ~telling | (self._now > 250)  # too bright to show any texture
        mask = same.astype(np.uint8) * 255
        if not disturbed:
            cv2.accumulateWeighted(self._now, self._background, 1.0, cv2.bitwise_and(mask, self._weak))
        cv2.bitwise_not(mask, dst=mask)
        cv2.bitwise_and(self._strong, mask, dst=self._strong)
        cv2.bitwise_and(self._weak, mask, dst=self._weak)

    def _things(self) -> tuple[list[Outline], tuple[Box, ...]]:
        """Outlines of what moves, and their boxes."""
        if self._zone is not None:
            cv2.bitwise_and(self._strong, self._zone, dst=self._strong)
            cv2.bitwise_and(self._weak, self._zone, dst=self._weak)
        cv2.morphologyEx(self._weak, cv2.MORPH_CLOSE, self._near, dst=self._weak)
        found, _ = cv2.findContours(self._weak, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        least = self._config.min_area * self._weak.size
        outlines: list[Outline] = []
        boxes: list[Box] = []
        for points in found:
            outline = np.asarray(points, np.int32)
            x, y, w, h = cv2.boundingRect(outline)
            if w * h < least:
                continue
            area = cv2.contourArea(outline)
            core = self._strong[y : y + h, x : x + w]
            if area < least or cv2.countNonZero(core) < max(0.25 * area, 0.5 * least):
                continue
            outlines.append(outline)
            left, top, width, height = cv2.boundingRect(core)
            boxes.append(self._box(x + left, y + top, width, height))
        return outlines, tuple(boxes)

    def _box(self, x: int, y: int, w: int, h: int) -> Box:
        across, down = self._factor / self.size[1], self._factor / self.size[0]
        return Box(x * across, y * down, min(w * across, 1.0 - x * across), min(h * down, 1.0 - y * down))

    def _learn(self, media_time: float, elapsed: float, outlines: list[Outline]) -> None:
        cv2.bitwise_not(self.moving, dst=self._still)
        age = media_time - self._learning_since
        cv2.accumulateWeighted(self._now, self._background, _rate(elapsed, STILL_S), self._still)
        cv2.threshold(self._change, NOISE_CAP, 0, cv2.THRESH_TRUNC, dst=self._change)
        cv2.accumulateWeighted(self._change, self._noise, _rate(elapsed, min(NOISE_S, age)), self._still)
        if not outlines:
            return
        cv2.accumulateWeighted(self._now, self._background, _rate(elapsed, MOVING_S), self.moving)
        cv2.accumulateWeighted(self._change, self._noise, _rate(elapsed, min(NOISE_MOVING_S, age)), self.moving)
        cv2.absdiff(self._now, self._before, dst=self._step)
        left = [outline for outline in outlines if self._is_ghost(outline)]
        if left:
            self._ghost.fill(0)
            cv2.drawContours(self._ghost, left, -1, 255, cv2.FILLED)
            cv2.dilate(self._ghost, self._near, dst=self._ghost)
            # At once: half mended, its edges would be as strong in both, and the rest would stay.
            cv2.accumulateWeighted(self._now, self._background, 1.0, self._ghost)

    def _is_ghost(self, outline: Outline) -> bool:
        """Whether this is where something was: still, and its edge is an edge of the background, not of the picture."""
        x, y, w, h = cv2.boundingRect(outline)
        top, left = max(y - 2, 0), max(x - 2, 0)
        around = np.s_[top : y + h + 2, left : x + w + 2]
        if cv2.mean(self._step[around], self.moving[around])[0] > RESTLESS:
            return False
        edge = np.zeros_like(self.moving[around])
        cv2.drawContours(edge, [outline], -1, 255, 3, offset=(-left, -top))
        here = cv2.mean(cv2.morphologyEx(self._now[around], cv2.MORPH_GRADIENT, self._near), edge)[0]
        then = cv2.mean(cv2.morphologyEx(self._expected[around], cv2.MORPH_GRADIENT, self._near), edge)[0]
        return bool(then > 1.2 * here + 2.0)


def _near(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean around each pixel."""
    return np.asarray(cv2.blur(values, (PATCH, PATCH)), np.float32)


def _rate(elapsed: float, time_constant: float) -> float:
    """Weight of one new frame in a running average; never so much that one picture takes over."""
    return min(1.0 - math.exp(-elapsed / time_constant), 0.5)
