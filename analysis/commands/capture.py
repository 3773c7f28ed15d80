"""`prunescope capture`: attention of a model into a dump."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import completing
from .frame import AsJson, show_json
from .model_option import Device, Model, loaded

if TYPE_CHECKING:
    import xarray as xr


def capture(
    model: Model = "",
    images: Annotated[
        str, typer.Option(help="Folder, glob or picture; by default the embedded benchmark with its own questions.")
    ] = "",
    prompts: Annotated[
        str, typer.Option(help="A prompt, a file with one per line, or a .jsonl of objects with image and prompt.")
    ] = "",
    out: Annotated[str, typer.Option(help="Folder or URL of the dump.")] = "out/attention.zarr",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="cls, received, vision_entropy, last, text_mean, image_rows or text_entropy; repeatable.",
            autocompletion=completing("reducers"),
        ),
    ] = None,
    heads: Annotated[bool, typer.Option(help="Whether heads are kept apart.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many samples only.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    dtype: Annotated[str, typer.Option(help="Of stored weights: float32 or float16.")] = "float32",
    shard: Annotated[str, typer.Option(help="i/n: the i-th of n parts, i from 0; several can run at once.")] = "0/1",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Attention of a model to the visual tokens of many images, into one Zarr store.

    An interrupted capture continues where it stopped when it is started again with the same options.
    """
    from ..capture import capture_dataset, default_reducers, named_reducers

    vlm = loaded(model, device)
    samples = _samples(images, prompts)
    names = keep or list(default_reducers(vlm.adapter))
    dump = capture_dataset(
        vlm,
        samples if limit is None else list(islice(samples, limit)),
        out,
        reducers=named_reducers(names, heads=heads),
        batch_size=batch_size,
        dtype=dtype,  # type: ignore[arg-type]  # any text; what is none is refused
        shard=_part(shard),
    )
    images_held, variables, grids = _contents(dump)
    if as_json:
        show_json({"dump": out, "images": images_held, "variables": variables} | ({"grids": grids} if grids else {}))
    else:
        of_grids = f" of {len(grids)} grids ({', '.join(grids)})" if grids else ""
        typer.echo(f"{out}: {images_held} images{of_grids}, {', '.join(variables)}")
        typer.echo(f"next: prunescope analyze {out}", err=True)


def _contents(dump: xr.Dataset | xr.DataTree) -> tuple[int, list[str], list[str]]:
    """Number of images captured, variables, and the grids where images have several."""
    import xarray as xr

    if isinstance(dump, xr.Dataset):
        return dump.sizes["image"], list(map(str, dump.data_vars)), []
    variables = {str(name): None for child in dump.children.values() for name in child.data_vars}
    return int(dump["captured"].sum()), list(variables), list(dump.children)


def _samples(images: str, prompts: str) -> Iterable[Any]:
    from ..capture import Pictures
    from ..evaluation import MiniVqa

    if images:
        return Pictures(images, prompts) if prompts else Pictures(images)
    if prompts:
        raise ValueError("`--prompts` needs `--images`: the embedded benchmark has questions of its own")
    return MiniVqa()


def _part(shard: str) -> tuple[int, int]:
    index, _, count = shard.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ValueError(f"`--shard` must be i/n, for example 0/4, got {shard!r}")
    return int(index), int(count)
