"""Areas of layouts written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.capture.areas import areas_of, group_names, layout_name, of_encoder, of_prompt
from analysis.models.layout import ImageLayout, Tile


def crop(view: int, at: tuple[int, int], places: list[int], crops: tuple[int, int] = (1, 2), **options: bool) -> Tile:
    """Two by two tokens, of which the encoder made four."""
    return Tile(view, (2, 2), np.arange(4), np.array(places), at, crops, **options)


def test_crops_lie_side_by_side() -> None:
    # a row of placeholders: whole image, then rows of both crops with a newline after each
    tiles = (Tile.whole(5, (1, 2)), crop(7, (0, 1), [4, 5, 9, 10]), crop(6, (0, 0), [2, 3, 7, 8]))
    whole, crops = areas_of([ImageLayout(12, tiles)])
    assert (whole.name, whole.grid, whole.places.tolist()) == ("whole", (1, 2), [0, 1])
    assert (crops.name, crops.grid, crops.places.tolist()) == ("crops", (2, 4), [2, 3, 4, 5, 7, 8, 9, 10])
    assert layout_name([whole, crops]) == "1x2+2x4"
    assert group_names([whole, crops]) == ["1x2+2x4-whole", "1x2+2x4-crops"]
    rows = torch.arange(12.0)
    assert of_prompt(crops, ("token",), rows).tolist() == crops.places.tolist()
    square = rows[:, None] * 100 + rows
    both = of_prompt(crops, ("query", "token"), square[None])
    assert both[0, 1].tolist() == [300 + place for place in crops.places.tolist()]
    views = [torch.empty(0)] * 6 + [torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([[5.0, 6, 7, 8]])]
    assert of_encoder(crops, ("token",), views).tolist() == [[1, 2, 5, 6, 3, 4, 7, 8]]
    maps = [torch.ones(4, 4) * view for view in range(8)]
    among = of_encoder(crops, ("query", "token"), maps)
    left = torch.tensor([True, True, False, False] * 2)
    assert (among[left][:, left] == 6).all()
    assert (among[~left][:, ~left] == 7).all()
    assert not among[left][:, ~left].any()


def test_images_of_a_prompt_are_numbered() -> None:
    layouts = [ImageLayout(4, (Tile.whole(view, (2, 2)),)) for view in range(3)]
    areas = areas_of(layouts)
    assert [area.name for area in areas] == ["1", "2", "3"]
    assert [area.places.tolist() for area in areas] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert layout_name(areas) == "3_of_2x2"
    assert group_names(areas) == ["3_of_2x2-1", "3_of_2x2-2", "3_of_2x2-3"]


def test_one_area_has_the_name_of_its_grid() -> None:
    (area,) = areas_of([ImageLayout(6, (Tile.whole(0, (2, 3)),))])
    assert (area.name, group_names([area])) == ("", ["2x3"])
    (shrunk,) = areas_of([ImageLayout(4, (crop(0, (0, 0), [0, 1, 2, 3], (1, 1), resampled=True),))])
    assert shrunk.interpolated
    assert group_names([shrunk]) == ["~2x2"]


def test_what_counts_no_tokens_belongs_to_one_picture() -> None:
    (alone,) = areas_of([ImageLayout(4, (Tile.whole(0, (2, 2)),))])
    views = [torch.ones(3)]
    assert of_encoder(alone, ("rank",), views) is views[0]
    (crops,) = areas_of([ImageLayout(8, (crop(0, (0, 0), [0, 1, 4, 5]), crop(1, (0, 1), [2, 3, 6, 7])))])
    with pytest.raises(ValueError, match="a reducer that keeps rank cannot tell what 2 crops of an image have in comm"):
        of_encoder(crops, ("rank",), views * 2)
