"""Renders a scene: a background, coloured shapes, tiny shapes, and signs with digits.

192 px at patch 8 are 24 x 24 visual tokens; 4 to 9 objects of 14 to 34 px, up to three tiny ones of 9 to 10 px, up to
two signs of two to four digits. How hard a scene is to read is drawn with it and known (`Look`). A smaller window is
the same world seen through fewer patches, which is what makes the window curriculum of the trainer possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .backgrounds import BACKGROUNDS, CHANCES, background
from .sprites import TILTS, digit_mask, shape_mask
from .vocabulary import COLOR_NAMES, COLORS, POPULARITY, SHAPES

PATCH = 8
GRID = 24
LEVEL = 16  # colour step of the finished picture: keeps the PNG of a noisy background small
PALETTE = np.array([COLORS[name] for name in COLOR_NAMES], np.float32)
LUMA = np.array([0.30, 0.59, 0.11], np.float32)
FULL_AREA = (GRID * PATCH) ** 2

Kind = Literal["object", "tiny", "sign"]
SIZES = {"small": (14, 18), "medium": (20, 26), "large": (28, 34)}  # least and largest side of an object in pixels
CLUTTER = {"low": 5, "medium": 14, "high": 40}  # mean number of strokes in a full picture


@dataclass(frozen=True)
class Look:
    """How hard a scene is to read: one of `BACKGROUNDS`, of `CLUTTER`, and of `SIZES` for its objects."""

    background: str
    clutter: str
    object_size: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        kinds = (BACKGROUNDS, tuple(CLUTTER), tuple(SIZES))
        picked = (int(rng.choice(len(kind), p=CHANCES if kind is BACKGROUNDS else None)) for kind in kinds)
        return cls(*(kind[number] for kind, number in zip(kinds, picked, strict=True)))


@dataclass(frozen=True)
class Item:
    """One thing in the picture. `shape` is -1 for a sign, `digits` is empty for a shape; centre in pixels."""

    index: int
    kind: Kind
    color: int
    shape: int
    y: float
    x: float
    digits: tuple[int, ...] = ()


@dataclass
class Scene:
    """A finished picture with what is known about every pixel.

    Attributes
    ----------
    pixels : uint8 [y, x, rgb]
    items : the things in it, in drawing order
    owner : int16 [y, x], index of the item that covers the pixel, -1 for background
    digit : int8 [y, x], the digit whose box covers the pixel, -1 elsewhere
    look : what it was drawn to be like
    """

    pixels: NDArray[np.uint8]
    items: list[Item]
    owner: NDArray[np.int16]
    digit: NDArray[np.int8]
    look: Look

    def of(self, kind: Kind) -> list[Item]:
        return [item for item in self.items if item.kind == kind]

    def patches_of(self, item: Item, least: int = 4) -> NDArray[np.int64]:
        """Raster indices of the patches with at least `least` pixels of `item`; the fullest one if none has."""
        rows, cols = self.owner.shape[0] // PATCH, self.owner.shape[1] // PATCH
        covered = (self.owner == item.index).reshape(rows, PATCH, cols, PATCH).sum((1, 3)).ravel()
        needed = np.flatnonzero(covered >= least)
        return needed if needed.size else np.array([covered.argmax()])

    def anchor_of(self, item: Item) -> int:
        """The one patch that stands for `item`: of those that show it, the one nearest to its centre."""
        patches = self.patches_of(item)
        cols = self.owner.shape[1] // PATCH
        # a hair up and left of the centre: between four patches, one is the nearest
        far = np.hypot((patches // cols + 0.5) * PATCH - item.y + 0.02, (patches % cols + 0.5) * PATCH - item.x + 0.01)
        return int(patches[far.argmin()])


class _Canvas:
    """A picture in the making: finds free room, pastes, and remembers who owns which pixel."""

    def __init__(self, height: int, width: int, rng: np.random.Generator, look: Look) -> None:
        self.rng, self.look = rng, look
        self.height, self.width = height, width
        self.pixels = background(look.background, height, width, rng)
        self.owner = np.full((height, width), -1, np.int16)
        self.digit = np.full((height, width), -1, np.int8)
        self.items: list[Item] = []
        self._boxes: list[tuple[int, int, int, int]] = []

    def clutter(self) -> None:
        for _ in range(self.rng.poisson(CLUTTER[self.look.clutter] * self.height * self.width / FULL_AREA)):
            y, x = int(self.rng.integers(0, self.height - 4)), int(self.rng.integers(0, self.width - 4))
            length, grey = int(self.rng.integers(4, 16)), self.rng.uniform(20, 235)
            if self.rng.random() < 0.5:
                self.pixels[y : y + 2, x : x + length] = grey
            else:
                self.pixels[y : y + length, x : x + 2] = grey

    def room(self, height: int, width: int, tries: int = 30) -> tuple[int, int] | None:
        if height + 2 > self.height or width + 2 > self.width:
            return None
        for _ in range(tries):
            y = int(self.rng.integers(1, self.height - height))
            x = int(self.rng.integers(1, self.width - width))
            clear = all(
                y + height + 2 < top or bottom + 2 < y or x + width + 2 < left or right + 2 < x
                for top, bottom, left, right in self._boxes
            )
            if clear:
                self._boxes.append((y, y + height, x, x + width))
                return y, x
        return None

    def tint(self, color: int) -> NDArray[np.float32]:
        result: NDArray[np.float32] = np.clip(PALETTE[color] + self.rng.normal(0, 9, 3).astype(np.float32), 0, 255)
        return result

    def blend(self, mask: NDArray[np.float32], y: int, x: int, color: NDArray[np.float32] | float) -> None:
        view = self.pixels[y : y + mask.shape[0], x : x + mask.shape[1]]
        view += mask[..., None] * (color - view)

    def add_shape(self, shape: int, color: int, size: int, kind: Kind) -> None:
        place = self.room(size, size)
        if place is None:
            return
        y, x = place
        mask = shape_mask(SHAPES[shape], size, TILTS[self.rng.integers(len(TILTS))])
        self.blend(mask, y, x, self.tint(color))
        index = len(self.items)
        self.owner[y : y + size, x : x + size][mask > 0.45] = index
        self.items.append(Item(index, kind, color, shape, y + size / 2, x + size / 2))

    def add_sign(self, color: int, digits: tuple[int, ...], points: int) -> None:
        glyphs = [digit_mask(digit, points) for digit in digits]
        width = sum(glyph.shape[1] for glyph in glyphs) + 2 * len(glyphs) + 4
        height = max(glyph.shape[0] for glyph in glyphs) + 6
        place = self.room(height, width)
        if place is None:
            return
        y, x = place
        board = self.tint(color)
        index = len(self.items)
        self.pixels[y : y + height, x : x + width] = board
        self.owner[y : y + height, x : x + width] = index
        ink = 15.0 if float(board @ LUMA) > 105 else 245.0
        pen = x + 3
        for digit, glyph in zip(digits, glyphs, strict=True):
            self.blend(glyph, y + 3, pen, ink)
            self.digit[y + 3 : y + 3 + glyph.shape[0], pen : pen + glyph.shape[1]] = digit
            pen += glyph.shape[1] + 2
        self.items.append(Item(index, "sign", color, -1, y + height / 2, x + width / 2, digits))

    def finish(self) -> Scene:
        """In steps of green, and of red and blue against green: noise that is grey costs the file one channel."""
        pixels = np.clip(self.pixels, 0, 255)
        green = np.round(pixels[..., 1:2] / LEVEL)
        levels = (green + np.round((pixels - pixels[..., 1:2]) / LEVEL)) * LEVEL
        return Scene(np.clip(levels, 0, 255).astype(np.uint8), self.items, self.owner, self.digit, self.look)


def _signs(canvas: _Canvas, count: int) -> None:
    colors = canvas.rng.choice(len(COLOR_NAMES), size=count, replace=False)  # a question names a sign by its colour
    for color in colors:
        length = int(canvas.rng.choice((2, 3, 4), p=(0.4, 0.35, 0.25)))
        digits = tuple(int(d) for d in canvas.rng.integers(0, 10, length))
        canvas.add_sign(int(color), digits, int(canvas.rng.integers(16, 21)))


def _objects(canvas: _Canvas, count: int) -> None:
    rng = canvas.rng
    colors = rng.choice(len(COLOR_NAMES), size=min(4, count), replace=False, p=POPULARITY)
    shapes = rng.choice(len(SHAPES), size=min(4, count), replace=False, p=POPULARITY)
    for _ in range(count):
        shape, color = int(rng.choice(shapes)), int(rng.choice(colors))
        placed = [item for item in canvas.items if item.kind == "object"]
        if placed and rng.random() < 0.35:  # repeat a colour or a shape, so that larger counts occur
            twin = placed[rng.integers(len(placed))]
            shape, color = (twin.shape, color) if rng.random() < 0.5 else (shape, twin.color)
        least, largest = SIZES[canvas.look.object_size]
        canvas.add_shape(shape, color, 2 * int(rng.integers(least // 2, largest // 2 + 1)), "object")


def render(rng: np.random.Generator, rows: int = GRID, cols: int = GRID, *, crowd_signs: bool = False) -> Scene:
    """One scene of `rows` x `cols` patches. `crowd_signs` puts signs everywhere: digits are the slowest to learn."""
    canvas = _Canvas(rows * PATCH, cols * PATCH, rng, Look.draw(rng))
    canvas.clutter()
    area = canvas.height * canvas.width / FULL_AREA
    large = area > 0.5
    if crowd_signs:
        signs, objects = int(rng.integers(1, 3)), int(rng.integers(2, 5))
    elif large:
        signs, objects = int(rng.choice(3, p=(0.15, 0.5, 0.35))), int(rng.integers(4, 10))
    else:
        signs, objects = int(rng.random() < 0.8), int(rng.integers(2, int(14 * area) + 4))
    tiny = int(rng.choice(4, p=(0.15, 0.35, 0.3, 0.2))) if large else int(rng.random() < 0.5)
    _signs(canvas, signs)
    _objects(canvas, objects)
    for shape in rng.choice(len(SHAPES), size=tiny, replace=False):  # a question names a tiny shape by its shape
        canvas.add_shape(int(shape), int(rng.integers(len(COLOR_NAMES))), int(rng.integers(9, 11)), "tiny")
    return canvas.finish()
