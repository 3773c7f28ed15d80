"""Anti-aliased masks of the shapes and digits, drawn once with Pillow's embedded font and kept."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Mask = NDArray[np.float32]

SUPERSAMPLING = 8
TILTS = (-14.0, -7.0, 0.0, 7.0, 14.0)  # degrees; small enough that a square never passes for a diamond


def _outline(shape: str) -> NDArray[np.float64]:
    """Corners [point, (x, y)] of a shape inside the unit disc, y pointing down."""

    def regular(corners: int, start: float, radius: float = 1.0) -> NDArray[np.float64]:
        turn = start + 2 * np.pi * np.arange(corners) / corners
        return radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)

    if shape == "square":
        return regular(4, np.pi / 4, 1.12)
    if shape == "triangle":
        return regular(3, -np.pi / 2)
    if shape == "diamond":  # slim, to stay apart from a tilted square
        return np.array([(0, -1), (0.58, 0), (0, 1), (-0.58, 0)], dtype=float)
    if shape == "star":
        points = np.empty((10, 2))
        points[0::2] = regular(5, -np.pi / 2)
        points[1::2] = regular(5, -np.pi / 2 + np.pi / 5, 0.42)
        return points
    if shape == "cross":
        arm = 0.3
        quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)], dtype=float)
        turn = np.array([[0, 1], [-1, 0]], dtype=float)  # row vectors: a quarter turn clockwise on screen
        return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x, -y + 2], axis=1) / 17
    raise ValueError(f"`shape` has no outline: {shape!r}")


def _coverage(canvas: Image.Image, width: int, height: int, filter: Image.Resampling) -> Mask:
    coverage: Mask = np.asarray(canvas.resize((width, height), filter), np.float32) / np.float32(255)
    return coverage


@cache
def shape_mask(shape: str, size: int, tilt: float) -> Mask:
    """Coverage in [0, 1] of `shape` in a square of `size` pixels [y, x], turned by `tilt` degrees."""
    side = size * SUPERSAMPLING
    canvas = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(canvas)
    if shape in ("circle", "ring"):
        draw.ellipse([1, 1, side - 2, side - 2], fill=255)
        if shape == "ring":
            hole = 0.55 * side / 2
            draw.ellipse([side / 2 - hole] * 2 + [side / 2 + hole] * 2, fill=0)
    else:
        angle = np.deg2rad(tilt)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = side / 2 + (side / 2 - 1) * (_outline(shape) @ rotation)
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=255)
    return _coverage(canvas, size, size, Image.Resampling.BOX)


@cache
def digit_mask(digit: int, points: int) -> Mask:
    """Coverage in [0, 1] of a digit [y, x], cropped to its ink, at `points` font size."""
    font = ImageFont.load_default(size=points * 4)
    left, top, right, bottom = (round(v) for v in font.getbbox(str(digit)))
    canvas = Image.new("L", (right - left + 4, bottom - top + 4), 0)
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), str(digit), font=font, fill=255)
    width, height = max(3, round((right - left) / 4)), max(5, round((bottom - top) / 4))
    return _coverage(canvas, width, height, Image.Resampling.LANCZOS)
