"""Which tokens a training image keeps, and which questions can still be answered from them.

A model that has always seen every token learns shares ("a third of the tokens are red") where it should learn things.
Trained on what pruners leave, it must not. A question whose evidence is gone is never asked: it would teach guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .questions import Question
from .scene import PATCH, Scene


@dataclass(frozen=True)
class Pruning:
    """How tokens are dropped.

    Parameters
    ----------
    keep
        Tokens that stay of each image; all of them where it has no more.
    promised
        Chance that an image keeps the whole evidence of as many questions as fit. Otherwise tokens stay by chance and
        by `foreground` alone.
    foreground
        Largest preference for tokens that show something, in the unit of a uniform draw: from 1 on they all stay
        before any background does. Drawn per image from 0 to this.
    undecided
        Ask also what the kept tokens leave open: for measuring, not for training.
    """

    keep: int
    promised: float = 0.75
    foreground: float = 1.2
    undecided: bool = False


def keep_some(
    scene: Scene, asked: Sequence[Question], pruning: Pruning, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[Question]]:
    """Kept tokens, ascending, and the questions of `asked` to which they hold the answer.

    A question is decided if every item of its evidence keeps its anchor and half of its patches, a sign all of them.
    """
    patches = {item.index: scene.patches_of(item) for item in scene.items}
    shown = np.zeros(scene.owner.size // PATCH**2, bool)
    for some in patches.values():
        shown[some] = True
    keep = min(pruning.keep, len(shown))
    worth = rng.random(len(shown)) + rng.uniform(0, pruning.foreground) * shown
    if rng.random() < pruning.promised:
        promised = np.zeros(len(shown), bool)
        for question in asked:
            wanted = promised.copy()
            for item in question.evidence:
                wanted[patches[item.index]] = True
            if wanted.sum() <= keep:
                promised = wanted
        worth[promised] = np.inf
    stays = np.zeros(len(shown), bool)
    stays[np.argsort(-worth, kind="stable")[:keep]] = True

    def decided(question: Question) -> bool:
        return all(
            stays[scene.anchor_of(item)] and stays[patches[item.index]].mean() >= (1.0 if item.kind == "sign" else 0.5)
            for item in question.evidence
        )

    left = list(asked) if pruning.undecided else [question for question in asked if decided(question)]
    return np.flatnonzero(stays), left
