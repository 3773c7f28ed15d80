"""Backgrounds: the natural ones have the statistics they claim, and none passes for a thing."""

from itertools import pairwise

import numpy as np
import pytest

from data.make.backgrounds import BACKGROUNDS, CHANCES, NATURAL, background
from data.make.scene import PALETTE, Look, render
from data.make.vocabulary import COLORS


def pictures(kind, count=12):
    rng = np.random.default_rng(4)
    return [background(kind, 192, 192, rng) for _ in range(count)]


def coloured(pixels):
    """How far colours are from grey: largest minus smallest channel."""
    return np.ptp(pixels, axis=-1)


def test_chances_are_those_of_a_draw():
    assert len(CHANCES) == len(BACKGROUNDS)
    assert sum(CHANCES) == pytest.approx(1)
    assert set(BACKGROUNDS) >= NATURAL


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_same_seed_same_background_of_any_size(kind):
    first, second = (background(kind, 72, 96, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (72, 96, 3)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_no_background_is_coloured_like_a_thing(kind):
    least = min(np.ptp(color) for color in COLORS.values())
    for picture in pictures(kind):
        assert np.quantile(coloured(picture), 0.999) < 0.75 * least


def spectral_slope(picture):
    """Exponent of amplitude over frequency, by least squares over log-spaced rings."""
    grey = picture.mean(-1)
    amplitude = np.abs(np.fft.fft2(grey - grey.mean()))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(192), np.fft.fftfreq(192)))
    rings = np.geomspace(2 / 192, 0.25, 12)
    mean = [amplitude[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(rings)]
    return np.polyfit(np.log(np.sqrt(rings[:-1] * rings[1:])), np.log(mean), 1)[0]


@pytest.mark.parametrize("kind", sorted(NATURAL))
def test_natural_spectra_fall_about_as_one_over_frequency(kind):
    slopes = [spectral_slope(picture) for picture in pictures(kind)]
    assert -1.7 < np.mean(slopes) < -0.8


def test_looks_are_drawn_in_every_combination_of_knobs():
    rng = np.random.default_rng(0)
    looks = [Look.draw(rng) for _ in range(2000)]
    assert len(set(looks)) == len(BACKGROUNDS) * 3 * 3
    share = np.mean([look.background in NATURAL for look in looks])
    assert share == pytest.approx(0.52, abs=0.05)


def test_things_stand_out_in_colour_from_any_background():
    rng = np.random.default_rng(8)
    for _ in range(40):
        scene = render(rng)
        for item in scene.of("object"):
            seen = np.median(scene.pixels[scene.owner == item.index], axis=0)
            assert np.abs(PALETTE - seen).sum(1).argmin() == item.color
