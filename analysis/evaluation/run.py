"""End-task accuracy under pruning: every question, pruner and budget, answered by the real model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from analysis.models import Vlm, fingerprint
from solvers.progress import progress_bar

from .chunk import Chunk
from .settings import Pruners, settings_of
from .store import ResultStore
from .tasks import AbstractTask, Sample
from .tasks import task as task_named

IMAGES_PER_PART = 16


def evaluate(
    vlm: Vlm,
    task: AbstractTask | str,
    pruners: Pruners,
    keeps: Sequence[int] = (192, 128, 64, 32),
    *,
    store: Path | str | None = None,
    seeds: Sequence[int] = (0,),
    position_ids: str | None = None,
    images: int | None = None,
    max_new_tokens: int = 16,
    progress: bool = True,
) -> pd.DataFrame:
    """Answer a task's questions with the stock model and under every pruner, budget and seed.

    The answers are those of `model.generate(do_sample=False)` inside `prune(...)`. Each image is encoded once for all
    settings, and its questions share their prompt prefix wherever they keep the same tokens.

    Parameters
    ----------
    vlm
        The model.
    task
        A benchmark or its name.
    pruners
        Pruners, or names out of `PRUNERS`, or one of them; their names must differ. A dict gives names of your own, to
        tell apart one method with several hyper-parameters: ``{"half": VisPruner(), "all": VisPruner(1.0)}``. The stock
        model is always evaluated too, as pruner "none" with all tokens.
    keeps
        Budgets: visual tokens per image.
    store
        Folder for finished parts, `IMAGES_PER_PART` images of one setting each. Run again with the same store, an
        evaluation (killed, or with more images, pruners or budgets) computes only what is missing. It is bound to the
        weights, the prompt template, the task's data and `max_new_tokens`. None keeps everything in memory.
    seeds
        Seeds for pruners that draw; the others repeat their answers at no cost.
    position_ids
        "keep" or "compact", see `analysis.pruning.inputs.PositionPolicy`; None takes each method's own.
    images
        Use only this many images of the task, from its start.
    max_new_tokens
        Longest answer, in tokens.
    progress
        Show a bar on standard error.

    Returns
    -------
    pandas.DataFrame
        A row per question and setting: model, pruner, keep (budget), kept (tokens in the last layer), visual_tokens
        (mean over layers), tokens_by_layer (such as "2x576 4x64"), position_ids, seed, image_id, question_id, task,
        question, answer, prediction, correct (or what `task.marks` has in its place, such as score), n_text (text
        tokens of the prompt), flops (vision tower, projector and prefill, see `cost`), kv_bytes, select_ms (wall time
        of the selection, once per image where the pruner ignores the question; NaN inside the language model), and the
        columns of `solvers.provenance`, as they were when the row was computed.

    Raises
    ------
    KeyError
        For an unknown task, pruner or position policy; the nearest name is suggested.
    ValueError
        For a budget outside [1, n], no budget or seed, pruners of equal name, too many images, ground truth stated for
        another grid than the model's, or a store that was made for something else.
    TypeError
        For a pruner that is none, or that holds parameters which are not fields of its dataclass: a store could not
        tell them apart.
    """
    benchmark = task_named(task) if isinstance(task, str) else task
    total = len(benchmark)
    if images is not None and not 1 <= images <= total:
        raise ValueError(f"`images` must be in [1, {total}], the images of task {benchmark.name!r}, got {images}")
    settings = settings_of(vlm, benchmark, pruners, keeps, seeds, position_ids)
    results = ResultStore(store, binding(vlm, benchmark) | {"max_new_tokens": max_new_tokens})
    parts: list[list[str]] = [[] for _ in settings]
    with progress_bar(progress) as bar:
        job = bar.add_task("evaluating", total=(images or total) * len(settings))
        for start, samples in _chunks(benchmark, images or total):
            names = [setting.part(start, start + len(samples)) for setting in settings]
            missing = [pair for pair in zip(settings, names, strict=True) if pair[1] not in results]
            bar.advance(job, len(samples) * (len(settings) - len(missing)))
            if missing:
                chunk = Chunk(vlm, benchmark, samples, [setting for setting, _ in missing], max_new_tokens)
                for setting, name in missing:
                    results.put(name, chunk.run(setting))
                    bar.advance(job, len(samples))
            for done, name in zip(parts, names, strict=True):
                done.append(name)
    return results.read([name for done in parts for name in done])


def binding(vlm: Vlm, task: AbstractTask) -> dict[str, str | int]:
    """What answers depend on besides the settings of a run: a store that was bound to something else is refused."""
    return {
        "model configuration": vlm.config_hash,
        "model weights": fingerprint(vlm.model),
        "prompt": vlm.prompt("question"),
        "task": task.label,
        "task checksum": task.checksum,
    }


def _chunks(task: AbstractTask, images: int) -> Iterator[tuple[int, list[Sample]]]:
    """Runs of images with the place of their first; always cut at the same places, so that parts fit again."""
    samples = islice(iter(task), images)
    start = 0
    while chunk := list(islice(samples, IMAGES_PER_PART)):
        yield start, chunk
        start += len(chunk)
