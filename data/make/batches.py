"""Training batches: windows of the full grid, their dense labels, the tokens that pruning leaves, and questions packed
behind each image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .pruned import Pruning, keep_some
from .questions import Question, ask
from .scene import GRID, PATCH, Scene, render
from .vocabulary import COLOR_NAMES, EOS, SHAPES, TOKEN, TRAINING_TASKS

KINDS = 1 + 2 * len(SHAPES) + 1  # background, shapes, tiny shapes, sign
TOTALS = 2 * len(COLOR_NAMES) * len(SHAPES) + 100  # what the whole image is asked: pairs, tiny pairs, digit bigrams
QUESTION_LENGTH = 13
IGNORE = -100
_LEAST_PIXELS = 6  # of 64: below that a patch counts as background


@dataclass
class Batch:
    """One training step. Token axis = patches of the window in raster order.

    images uint8 [image, y, x, rgb]; rows, cols: the window in patches; index int64 [image, token]: raster index of each
    patch in the full grid; kept int64 [image, kept]: the tokens that the language model sees, ascending;
    kind, color, digit int64 [image, token]; anchor float32 [image, token]: where the objects' centres are;
    totals float32 [image, 228];
    tokens, targets int64 [image, question, word]; task int64 [image, question], -1 where empty;
    named float32 [image, question, word, (row, col)]: where the item lies that the words so far name, else NaN.
    """

    images: Tensor
    rows: int
    cols: int
    index: Tensor
    kept: Tensor
    kind: Tensor
    color: Tensor
    digit: Tensor
    anchor: Tensor
    totals: Tensor
    tokens: Tensor
    targets: Tensor
    task: Tensor
    named: Tensor

    def to(self, device: torch.device) -> Batch:
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: v.to(device) for name, v in every.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def _patch_majority(pixel: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Most frequent non-zero label of each patch, 0 (background) where none reaches the least number of pixels."""
    rows, cols = pixel.shape[0] // PATCH, pixel.shape[1] // PATCH
    patches = pixel.reshape(rows, PATCH, cols, PATCH).transpose(0, 2, 1, 3).reshape(rows * cols, -1)
    flat = patches + classes * np.arange(rows * cols)[:, None]
    votes = np.bincount(flat.ravel(), minlength=rows * cols * classes).reshape(rows * cols, classes)
    votes[:, 0] = _LEAST_PIXELS - 1
    result: NDArray[np.int64] = votes.argmax(1)
    return result


def dense_labels(scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Per patch: kind (0 background, 1..8 shape, 9..16 tiny shape, 17 sign), colour + 1, digit + 1."""
    kind_of, color_of = np.zeros(len(scene.items) + 1, np.int64), np.zeros(len(scene.items) + 1, np.int64)
    for item in scene.items:  # the last entry stays 0: owner -1 is background
        first = {"object": 1, "tiny": 1 + len(SHAPES), "sign": KINDS}[item.kind]
        kind_of[item.index], color_of[item.index] = first + item.shape, item.color + 1
    owner = scene.owner.astype(np.int64)
    return (
        _patch_majority(kind_of[owner], KINDS),
        _patch_majority(color_of[owner], 1 + len(COLOR_NAMES)),
        _patch_majority(scene.digit.astype(np.int64) + 1, 11),
    )


def anchors(scene: Scene) -> NDArray[np.float32]:
    """A mass of 1 for each object, on the patches around its centre that show it, shared bilinearly.

    What is counted are things, not the tokens that show them: the sum of these masses is the number of objects. All of
    it on one patch would ask for a decision at patch borders that no picture supports.
    """
    rows, cols = scene.owner.shape[0] // PATCH, scene.owner.shape[1] // PATCH
    marked = np.zeros(rows * cols, np.float32)
    for item in scene.of("object"):
        patches = scene.patches_of(item)
        down = 1 - np.abs(patches // cols + 0.5 - item.y / PATCH)
        right = 1 - np.abs(patches % cols + 0.5 - item.x / PATCH)
        mass = down.clip(0) * right.clip(0)
        if mass.max() < 0.1:  # a ring is hollow where its centre is
            mass = patches == scene.anchor_of(item)
        marked[patches] += mass / mass.sum()
    return marked.clip(0, 1)


def scene_totals(scene: Scene) -> NDArray[np.float32]:
    """What is in the scene at all: colour-shape pairs, tiny pairs, neighbouring digits."""
    totals = np.zeros(TOTALS, np.float32)
    pairs = len(COLOR_NAMES) * len(SHAPES)
    for item in scene.items:
        if item.kind == "sign":
            for a, b in zip(item.digits[:-1], item.digits[1:], strict=True):
                totals[2 * pairs + 10 * a + b] = 1
        else:
            totals[(pairs if item.kind == "tiny" else 0) + item.color * len(SHAPES) + item.shape] = 1
    return totals


def encode(question: Question) -> tuple[list[int], list[int]]:
    """Input tokens and next-token targets; only the answer and </s> are targets."""
    words = [TOKEN[w] for w in (*question.text.split(), "ASSISTANT:")]
    answer = [TOKEN[w] for w in (*question.answer.split(), EOS)]
    if len(words) + len(answer) - 1 > QUESTION_LENGTH:
        raise ValueError(f"a question and its answer have {QUESTION_LENGTH} words at most, got {question.text!r}")
    return words + answer[:-1], [IGNORE] * (len(words) - 1) + answer


def make_batch(
    rng: np.random.Generator,
    size: int,
    window: int,
    *,
    questions: int = 12,
    counts: int = 2,
    relations: int = 2,
    where: int = 2,
    only: tuple[str, ...] = (),
    pruning: Pruning | None = None,
) -> Batch:
    """`size` scenes of `window` x `window` patches, each at an offset of its own in the full grid (one offset per
    batch would make absolute position a shortcut). `questions=0` renders crowded signs and asks nothing. `pruning`
    drops tokens before the language model, and with them the questions that they leave undecided."""
    tokens = np.zeros((size, questions, QUESTION_LENGTH), np.int64)
    targets = np.full((size, questions, QUESTION_LENGTH), IGNORE, np.int64)
    task = np.full((size, questions), -1, np.int64)
    named = np.full((size, questions, QUESTION_LENGTH, 2), np.nan, np.float32)
    images, dense, marked, totals, index, kept = [], [], [], [], [], []
    for b in range(size):
        row, col = (int(v) for v in rng.integers(0, GRID - window + 1, 2))
        scene = render(rng, window, window, crowd_signs=questions == 0)
        images.append(scene.pixels)
        dense.append(dense_labels(scene))
        marked.append(anchors(scene))
        totals.append(scene_totals(scene))
        index.append(((np.arange(window) + row)[:, None] * GRID + np.arange(window) + col).ravel())
        if not questions:
            kept.append(np.arange(window**2))
            continue
        asked = ask(scene, rng, offset=(row, col), counts=counts, relations=relations, where=where)
        asked = [q for q in asked if not only or q.task in only]
        asked = [asked[q] for q in rng.permutation(len(asked))]
        if pruning is None:
            kept.append(np.arange(window**2))
        else:
            left, asked = keep_some(scene, asked, pruning, rng)
            kept.append(left)
        for k, question in enumerate(asked[:questions]):
            words, answer = encode(question)
            tokens[b, k, : len(words)] = words
            targets[b, k, : len(answer)] = answer
            task[b, k] = TRAINING_TASKS.index(question.task)
            for word, item in question.names.items():
                named[b, k, word] = item.y / PATCH + row, item.x / PATCH + col
    kinds, colors, digits = (torch.from_numpy(np.stack(labels)) for labels in zip(*dense, strict=True))
    return Batch(
        images=torch.from_numpy(np.stack(images)),
        rows=window,
        cols=window,
        index=torch.from_numpy(np.stack(index)),
        kept=torch.from_numpy(np.stack(kept)),
        kind=kinds,
        color=colors,
        digit=digits,
        anchor=torch.from_numpy(np.stack(marked)),
        totals=torch.from_numpy(np.stack(totals)),
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(targets),
        task=torch.from_numpy(task),
        named=torch.from_numpy(named),
    )
