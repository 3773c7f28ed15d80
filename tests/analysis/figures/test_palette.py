"""Colours belong to names, and stay apart for every common kind of colour vision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.figures import palette
from analysis.pruning.pruners import PRUNERS

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_CONES = [
    [0.41222147, 0.53633254, 0.05144599],
    [0.21190350, 0.68069955, 0.10739696],
    [0.08830246, 0.28171884, 0.62997870],
]
TO_OKLAB = [
    [0.21045426, 0.79361779, -0.00407205],
    [1.97799850, -2.42859221, 0.45059371],
    [0.02590404, 0.78277177, -0.80867577],
]


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    return 100 * np.array(TO_OKLAB) @ np.cbrt(np.array(TO_CONES) @ np.clip(rgb, 0, 1))


def hues() -> list[str]:
    return sorted({look.color for name, look in palette.PRUNERS.items() if name not in palette.BASELINES})


@pytest.mark.parametrize("vision", VISION)
def test_hues_stay_apart(vision: str) -> None:
    seen = [oklab(np.array(VISION[vision]) @ linear(color)) for color in hues()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 11


def test_no_hue_is_added_without_a_search_for_one() -> None:
    assert len(hues()) == 9


def test_hues_show_on_white() -> None:
    luminance = [linear(color) @ [0.2126, 0.7152, 0.0722] for color in hues()]
    assert 1.05 / (max(luminance) + 0.05) > 2.1


def test_spelling_of_a_name_does_not_matter() -> None:
    assert palette.look("FoPruRank") == palette.look("fopru_rank") == palette.look("FoPru rank")


def test_every_pruner_of_the_registry_has_a_look_of_its_own() -> None:
    looks = [palette.look(entry.name) for entry in PRUNERS]
    assert len({(look.color, look.marker) for look in looks}) == len(PRUNERS)
    assert all(palette.key(entry.name) in palette.PRUNERS for entry in PRUNERS)


def test_unknown_names_get_a_stable_look() -> None:
    look = palette.look("LocalSearch+MaxMin")
    assert look == palette.look("LocalSearch+MaxMin")
    assert look.label == "LocalSearch+MaxMin"
    assert len({palette.look(f"solver {i}")[1:3] for i in range(40)}) > 10


def lightness(color: str) -> float:
    """CIE L*, which is what is left of a colour in grey print."""
    luminance = float(linear(color) @ [0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("looks", [palette.PRUNERS, palette.SOLVERS], ids=["pruners", "solvers"])
def test_lines_can_be_told_apart_in_grey_print(looks: dict[str, palette.Look]) -> None:
    alike = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(looks.items(), 2)
        if (a.marker, a.dash) == (b.marker, b.dash) and abs(lightness(a.color) - lightness(b.color)) < 25
    ]
    assert alike == []


def test_quartiles_get_darker_step_by_step() -> None:
    steps = np.diff([lightness(color) for color in palette.QUARTILES])
    assert (steps < -12).all()


def test_a_score_has_the_look_of_its_attention_and_names_its_layer() -> None:
    assert palette.score_look("last_2") == palette.source_look("text last token")._replace(
        label="Text, last token, layer 2"
    )
    assert palette.score_look("cls") == palette.source_look("vision CLS")
    assert palette.score_look("random") == palette.look("random")
    assert palette.score_look("mine_3").label == "mine, layer 3"
