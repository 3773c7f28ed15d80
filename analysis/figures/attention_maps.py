"""Attention maps of one image, laid over it."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from .palette import MUTED
from .panels import Panels, themed
from .pictures import Picture, as_pixels, checked_map, faded, panel_grid


@themed
def attention_maps(
    image: Picture, maps: Mapping[str, ArrayLike], *, title: str | None = None, columns: int = 5
) -> Panels:
    """The image, then the image in grey under each map.

    Every map has its own colour scale from 0 to its largest weight, which is printed below it: layers differ too much
    in concentration for a common one.

    Parameters
    ----------
    image
        The picture, PIL or uint8 [y, x, rgb].
    maps
        Panel title to weights [row, col] of the visual tokens, not negative; an `xarray.DataArray` will do.
    title
        What stands over the figure, for example the question.
    columns
        Panels side by side, the picture included.

    Raises
    ------
    ValueError
        If there is no map, or one is not a finite, non-negative matrix.
    """
    if not maps:
        raise ValueError("`maps` must hold at least one map")
    pixels = as_pixels(image)
    weights = {name: checked_map(values, name) for name, values in maps.items()}
    height, width = pixels.shape[:2]
    figure, panels = panel_grid(["Image", *weights], columns, height / width, heading=title, notes=True)
    panels[0].imshow(pixels, interpolation="nearest")
    grey = faded(pixels, 0.6)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for ax, values in zip(panels[1:], weights.values(), strict=True):
        largest = float(values.max())
        ax.imshow(grey, interpolation="nearest")
        # Opacity follows the weight, so that unattended parts stay readable as a picture.
        share = values / (largest or 1.0)
        opacity = 0.9 * share**0.7
        ax.imshow(share, cmap="YlOrRd", vmin=0, vmax=1, alpha=opacity, extent=extent, interpolation="nearest")
        ax.set_xlabel(f"largest weight {100 * largest:.2g} %", fontsize=6.5, color=MUTED, labelpad=3)
    return Panels(figure)
