"""What lies behind the things of a scene: four flat textures, and two that have the statistics of natural pictures.

On a flat texture every coloured thing is an outlier, which favours rules that look for unlike tokens. "clouds" has the
power spectrum of natural pictures (about 1/f in amplitude; Field, 1987), "leaves" their occlusions and scale
invariance (the dead leaves model; Lee, Mumford and Huang, 2001). Their colours are muted, so that no background passes
for a thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

BACKGROUNDS = ("gradient", "stripes", "checker", "blocks", "clouds", "leaves")
CHANCES = (0.12, 0.12, 0.12, 0.12, 0.22, 0.3)
NATURAL = frozenset({"clouds", "leaves"})
_FULL_AREA = 192 * 192


def background(kind: str, height: int, width: int, rng: np.random.Generator) -> Picture:
    """Colours [y, x, rgb], around 0 to 255 and not yet clipped, of one of `BACKGROUNDS`."""
    picture = _natural(kind, height, width, rng) if kind in NATURAL else _flat(kind, height, width, rng)
    return picture + rng.normal(0, rng.uniform(1, 6), (height, width, 1)).astype(np.float32)


def _flat(kind: str, height: int, width: int, rng: np.random.Generator) -> Picture:
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    plane = np.full((height, width), rng.uniform(70, 185), np.float32)
    if kind == "gradient":  # of the same strength per scene whatever the window
        slope = rng.uniform(-34, 34, 2)
        plane += slope[0] * (yy / height - 0.5) + slope[1] * (xx / width - 0.5)
    elif kind == "stripes":
        turn, wave = rng.uniform(0, np.pi), rng.uniform(7, 30)
        plane += rng.uniform(8, 22) * np.sin((xx * np.cos(turn) + yy * np.sin(turn)) * 2 * np.pi / wave)
    elif kind == "checker":
        cell = int(rng.integers(5, 20))
        plane += rng.uniform(6, 20) * (((xx // cell + yy // cell) % 2) * 2 - 1)
    else:
        cell = int(rng.integers(4, 12))
        blocks = rng.normal(0, rng.uniform(8, 20), (height // cell + 2, width // cell + 2)).astype(np.float32)
        plane += np.repeat(np.repeat(blocks, cell, 0), cell, 1)[:height, :width]
    return plane[..., None] + rng.uniform(-10, 10, 3).astype(np.float32)


def _natural(kind: str, height: int, width: int, rng: np.random.Generator) -> Picture:
    if kind == "clouds":
        result: Picture = _muted(rng)[0] + np.float32(rng.uniform(15, 36)) * _pink(height, width, rng)[..., None]
        return result
    picture = _leaves(height, width, rng)
    return picture + np.float32(rng.uniform(4, 12)) * _pink(height, width, rng)[..., None]


def _pink(height: int, width: int, rng: np.random.Generator) -> Picture:
    """Noise [y, x] of mean 0 and standard deviation 1 whose amplitude falls about as 1/f."""
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum / frequency ** rng.uniform(1.0, 1.6), s=(height, width))
    result: Picture = (noise / noise.std()).astype(np.float32)
    return result


def _muted_tint(rng: np.random.Generator, count: int = 1) -> Picture:
    """Colour differences [n, rgb] that leave a surface far less coloured than any thing is."""
    turn, strength = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 26, count)
    red, blue = strength * np.cos(turn), strength * np.sin(turn)
    return np.stack([red, -0.5 * red - 0.2 * blue, blue], 1).astype(np.float32)


def _muted(rng: np.random.Generator, count: int = 1) -> Picture:
    return rng.uniform(40, 215, (count, 1)).astype(np.float32) + _muted_tint(rng, count)


def _leaves(height: int, width: int, rng: np.random.Generator) -> Picture:
    """Ellipses of one muted colour each, every one over those before; radii have density r ** -3."""
    count = max(6, round(160 * height * width / _FULL_AREA))
    radius = 4 / np.sqrt(rng.uniform((4 / 60) ** 2, 1, count + 1))
    order = np.argsort(-radius) if rng.random() < 0.3 else np.arange(count + 1)
    centre = rng.uniform(0, 1, (count + 1, 2)) * (height, width)
    turn, aspect = rng.uniform(0, np.pi, count + 1), rng.uniform(0.4, 1.0, count + 1)
    colors = _muted(rng, 10)[rng.integers(10, size=count + 1)]
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = colors[-1]
    for leaf in order[order < count]:
        (y, x), r = centre[leaf], radius[leaf]
        top, left = max(0, int(y - r)), max(0, int(x - r))
        yy, xx = np.ogrid[top : min(height, int(y + r) + 2), left : min(width, int(x + r) + 2)]
        along = (xx - x) * np.cos(turn[leaf]) + (yy - y) * np.sin(turn[leaf])
        across = (yy - y) * np.cos(turn[leaf]) - (xx - x) * np.sin(turn[leaf])
        inside = along**2 + (across / aspect[leaf]) ** 2 < r * r
        picture[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = colors[leaf]
    return picture
