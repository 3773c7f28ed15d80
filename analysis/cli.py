"""The `prunescope` command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands.cost import cost
from .commands.registry import models, rules

if TYPE_CHECKING:
    from .models import Vlm

app = typer.Typer(
    help="Visual tokens in vision-language models: attention, selection with certified gaps, pruned accuracy.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(cost)
app.command()(rules)
app.command()(models)


@app.callback()
def _root() -> None:
    """Keeps `study` a command of its own while it is the only one."""


@app.command()
def study(
    fast: Annotated[bool, typer.Option("--fast", help="A few images only: a look at what the study does.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for report, tables and figures.")] = Path("out"),
    model: Annotated[str, typer.Option(help="Folder or hub id; the embedded model by default.")] = "",
    images: Annotated[
        int | None, typer.Option(min=1, help="Images of the benchmark whose questions are answered.")
    ] = None,
) -> None:
    """Attention, token selection and pruned accuracy of a model, as tables, figures and one HTML report.

    An interrupted study continues where it stopped when it is started again with the same options.
    """
    from .study import DEFAULT, FAST, StudyError, run_study

    settings = FAST if fast else DEFAULT
    try:
        report = run_study(model or None, out, settings if images is None else settings.with_images(images))
    except StudyError as error:
        typer.secho(f"prunescope study: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("stopped; the same command continues from here", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"open {report}")


@app.command()
def capture(
    model: Annotated[str, typer.Argument(help="Folder or hub id; the embedded model by default.")] = "",
    images: Annotated[
        str, typer.Option(help="Folder, glob or picture; by default the embedded benchmark with its own questions.")
    ] = "",
    prompts: Annotated[
        str, typer.Option(help="A prompt, a file with one per line, or a .jsonl of objects with image and prompt.")
    ] = "",
    out: Annotated[str, typer.Option(help="Folder or URL of the dump.")] = "out/attention.zarr",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="cls, received, vision_entropy, last, text_mean, image_rows or text_entropy; repeatable."),
    ] = None,
    heads: Annotated[bool, typer.Option(help="Whether heads are kept apart.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many samples only.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    dtype: Annotated[str, typer.Option(help="Of stored weights: float32 or float16.")] = "float32",
    shard: Annotated[str, typer.Option(help="i/n: the i-th of n parts, i from 0; several can run at once.")] = "0/1",
    device: Annotated[str, typer.Option(help="Where the model runs, for example cuda.")] = "cpu",
) -> None:
    """Attention of a model to the visual tokens of many images, into one Zarr store.

    An interrupted capture continues where it stopped when it is started again with the same options.
    """
    from .capture import capture_dataset, default_reducers, named_reducers

    try:
        vlm = _loaded(model, device)
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
    except (KeyError, OSError, ValueError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        typer.secho(f"prunescope capture: {reason}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("stopped; the same command continues from here", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{out}: {dump.sizes['image']} images, {', '.join(map(str, dump.data_vars))}")


def _loaded(model: str, device: str) -> Vlm:
    from .models import load
    from .study.run import EMBEDDED

    # the embedded model is named as in the repository, wherever that lies on this machine
    return load(model, device=device) if model else replace(load(str(EMBEDDED), device=device), id="data/mini_llava")


def _samples(images: str, prompts: str) -> Iterable[Any]:
    from .capture import Pictures
    from .evaluation import MiniVqa

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


if __name__ == "__main__":
    app()
