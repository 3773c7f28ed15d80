"""Visual tokens to choose from: made up in the shapes of a real model, or those that the embedded model sees."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from analysis.evaluation import MiniVqa
from analysis.evaluation.tasks import Sample
from analysis.models import Vlm
from analysis.pruning import AbstractPruner, VisualTokens, encode_images
from analysis.pruning.inputs import question_mask
from analysis.pruning.merger import AbstractMerger
from solvers.arrays import Float64Array, IntArray
from solvers.instances import clip_like

_HEAD = 64  # width of an attention head of CLIP ViT-L
_SHARPNESS = 8.0  # of the made-up attention among the tokens, before the softmax
_NEEDED = 8  # tokens that the made-up question asks for


@dataclass(frozen=True)
class Shapes:
    """Widths of a model.

    Parameters
    ----------
    side
        Rows, and columns, of the grid of tokens.
    dim, hidden
        Width of the encoder's features, and of the language model.
    words
        Words of the question.
    """

    side: int = 24
    dim: int = 1024
    hidden: int = 4096
    words: int = 60


LLAVA_7B = Shapes()
"""LLaVA-1.5-7B, with a question of 60 words."""


def made_up(shapes: Shapes, seed: int) -> VisualTokens:
    """Tokens with the similarities of CLIP patches and all evidence that a pruner before the language model reads.

    Features and CLS attention are `solvers.instances.clip_like`; a fixed random projector keeps their cosines.
    Attention among the tokens follows the cosines, keys are random projections, words lie between a token and noise.
    """
    side, n = shapes.side, shapes.side**2
    problem = clip_like(1, grid=(side, side), dim=shapes.dim, seed=seed)
    assert problem.features is not None
    features, cls = problem.features, problem.signals["cls"]
    rng = np.random.default_rng(seed)
    projected = features @ _projection(shapes.dim, shapes.hidden)
    attention = np.exp(_SHARPNESS * (features @ features.T))
    words = projected[rng.integers(n, size=shapes.words)]
    noise = rng.standard_normal(words.shape) / np.sqrt(shapes.hidden)
    last_cls = cls * rng.lognormal(size=n)
    evidence = {
        "features": features,
        "projected": projected,
        "cls": cls,
        "attention_map": attention / attention.sum(1, keepdims=True),
        "keys": features @ _projection(shapes.dim, _HEAD),
        "first_cls": rng.dirichlet(np.ones(n)),
        "last_cls": last_cls / last_cls.sum(),
        "last_keys": features @ _projection(shapes.dim, shapes.dim),
        "text": words + noise,
    }
    arrays: dict[str, Any] = {name: np.asarray(values, dtype=np.float32) for name, values in evidence.items()}
    needed = rng.choice(n, _NEEDED, replace=False)
    return VisualTokens(grid=(side, side), needed=needed, key=problem.id, **arrays)


@functools.cache
def _projection(rows: int, columns: int) -> Float64Array:
    result: Float64Array = np.random.default_rng(0).standard_normal((rows, columns)) / np.sqrt(rows)
    return result


def asked_samples(images: int) -> list[Sample]:
    """The first images of the embedded benchmark."""
    return list(islice(iter(MiniVqa()), images))


def seen_by(vlm: Vlm, samples: Sequence[Sample], needs: frozenset[str]) -> list[VisualTokens]:
    """The tokens of these images in `vlm`, with the first question of each and the evidence in `needs`."""
    questions = [sample.questions[0] for sample in samples]
    inputs = vlm.prepare([sample.image for sample in samples], [question.question for question in questions])
    encoded = encode_images(vlm, inputs["pixel_values"], needs)
    image_id = vlm.adapter.image_token_id(vlm.model)
    words = question_mask(inputs["input_ids"], image_id, inputs["attention_mask"].bool())
    embed = vlm.adapter.embedding(vlm.model)
    with torch.no_grad():
        texts = [embed(ids[own]).numpy() for ids, own in zip(inputs["input_ids"], words, strict=True)]
    return [
        tokens.asked(text).with_needed(question.needed)
        for tokens, text, question in zip(encoded, texts, questions, strict=True)
    ]


def chosen(pruner: AbstractPruner, pictures: Sequence[VisualTokens], keep: int) -> list[IntArray]:
    """What a pruner keeps of each picture, one after the other, as the hooks of `prune` ask for it."""
    kept = []
    for tokens in pictures:
        # A picture keeps its cosines for the next question or budget; one that is new has none.
        tokens._shared.clear()
        if isinstance(pruner, AbstractMerger):
            kept.append(pruner.assign(tokens, keep).indices)
        else:
            kept.append(pruner.select(tokens, keep))
    return kept
