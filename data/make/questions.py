"""Asks questions about a scene, with the answer, the tokens it needs, and which word names which item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from .scene import PATCH, Item, Scene
from .vocabulary import COLOR_NAMES, POPULARITY, SHAPES

T = TypeVar("T")

MOST_NEEDED = 64  # no count needs more tokens than this: the budget at which the benchmark is read holds every answer
COARSE = 3  # the "where" scaffold answers on a grid of 3 x 3 patches: 8 x 8 answers in the full picture


@dataclass(frozen=True)
class Question:
    """One question.

    `evidence` are the items without which the answer cannot be known; it is empty where the answer is an absence.
    `names` maps a word position of the question to the item that the words up to there single out.
    """

    task: str
    text: str
    answer: str
    evidence: tuple[Item, ...] = ()
    names: dict[int, Item] = field(default_factory=dict)


def _phrase(item: Item) -> str:
    return f"{COLOR_NAMES[item.color]} {SHAPES[item.shape]}"


def _question(task: str, text: str, answer: str, evidence: Iterable[Item] = (), **named: Item) -> Question:
    """`named` gives `w3=item`: word 3 of the question completes the naming of that item."""
    return Question(task, text, answer, tuple(evidence), {int(k[1:]): item for k, item in named.items()})


class Asker:
    """Asks about one scene; every draw comes from `rng`.

    A question form is offered only where each of its answers is possible, else the form itself would give the
    answer away.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator, offset: tuple[int, int] = (0, 0)) -> None:
        self.scene, self.rng, self.offset = scene, rng, offset
        self.objects = scene.of("object")
        self.by_pair: dict[tuple[int, int], list[Item]] = defaultdict(list)
        for item in self.objects:
            self.by_pair[item.color, item.shape].append(item)
        self.patches = {item.index: len(scene.patches_of(item)) for item in self.objects}
        self.unique = [same[0] for same in self.by_pair.values() if len(same) == 1]

    def _pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def existence(self, task: str) -> list[Question]:
        colors, shapes = {c for c, _ in self.by_pair}, {s for _, s in self.by_pair}
        every = [(c, s) for c in range(len(COLOR_NAMES)) for s in range(len(SHAPES))]
        absent = [pair for pair in every if pair not in self.by_pair]
        if task == "exist_random":
            absent = [(c, s) for c, s in absent if c not in colors and s not in shapes]
        elif task == "exist_popular":
            absent = sorted(absent, key=lambda pair: -POPULARITY[pair[0]] * POPULARITY[pair[1]])[:4]
        else:  # colour and shape both there, never together
            absent = [(c, s) for c, s in absent if c in colors and s in shapes]
        if not self.by_pair or not absent:
            return []
        if self.rng.random() < 0.5:
            items = self.by_pair[self._pick(list(self.by_pair))]
            named = {"w4": items[0]} if len(items) == 1 else {}
            return [_question(task, f"is there a {_phrase(items[0])} ?", "yes", items, **named)]
        color, shape = self._pick(absent)
        return [_question(task, f"is there a {COLOR_NAMES[color]} {SHAPES[shape]} ?", "no")]

    def attribute(self) -> list[Question]:
        by_shape, by_color = defaultdict(list), defaultdict(list)
        for item in self.objects:
            by_shape[item.shape].append(item)
            by_color[item.color].append(item)
        lone_shape = [items[0] for items in by_shape.values() if len(items) == 1]
        lone_color = [items[0] for items in by_color.values() if len(items) == 1]
        if lone_shape and (self.rng.random() < 0.5 or not lone_color):
            item = self._pick(lone_shape)
            text = f"what color is the {SHAPES[item.shape]} ?"
            return [_question("attribute", text, COLOR_NAMES[item.color], [item], w4=item)]
        if lone_color:
            item = self._pick(lone_color)
            text = f"what shape is the {COLOR_NAMES[item.color]} object ?"
            return [_question("attribute", text, SHAPES[item.shape], [item], w5=item)]
        return []

    def count(self) -> list[Question]:
        """The number is drawn first, among the numbers that some form of the question has as its answer."""
        forms: list[tuple[str, list[Item]]] = [("objects", list(self.objects))]
        for c, color in enumerate(COLOR_NAMES):
            forms.append((f"{color} objects", [item for item in self.objects if item.color == c]))
        for s, shape in enumerate(SHAPES):
            forms.append((f"{shape}s", [item for item in self.objects if item.shape == s]))
        for c in {item.color for item in self.objects}:
            for s in {item.shape for item in self.objects}:
                forms.append((f"{COLOR_NAMES[c]} {SHAPES[s]}s", self.by_pair.get((c, s), [])))
        by_number = defaultdict(list)
        for words, items in forms:
            if sum(self.patches[item.index] for item in items) <= MOST_NEEDED:
                by_number[len(items)].append((words, items))
        number = self._pick(sorted(by_number))
        words, items = self._pick(by_number[number])
        return [_question("count", f"how many {words} are there ?", str(number), items)]

    def spatial(self, least: float = 14.0) -> list[Question]:
        """A relation between two objects at least `least` pixels apart along its axis."""
        if len(self.unique) < 2:
            return []
        for _ in range(10):
            i, j = self.rng.choice(len(self.unique), 2, replace=False)
            first, second = self.unique[i], self.unique[j]
            if self.rng.random() < 0.5:
                distance, words = first.x - second.x, ("left of", "right of")
            else:
                distance, words = first.y - second.y, ("above", "below")
            if abs(distance) >= least:
                break
        else:
            return []
        true = self.rng.random() < 0.5
        relation = words[int((distance < 0) != true)]
        text = f"is the {_phrase(first)} {relation} the {_phrase(second)} ?"
        second_at = f"w{5 + len(relation.split()) + 1}"
        named = {"w3": first, second_at: second}
        return [_question("spatial", text, "yes" if true else "no", [first, second], **named)]

    def where(self) -> list[Question]:
        if not self.unique:
            return []
        item = self._pick(self.unique)
        row = int(item.y // PATCH + self.offset[0]) // COARSE
        col = int(item.x // PATCH + self.offset[1]) // COARSE
        return [_question("where", f"where is the {_phrase(item)} ?", f"{row} {col}", [item], w4=item)]

    def text(self) -> list[Question]:
        return [
            _question(
                "text",
                f"what number is on the {COLOR_NAMES[sign.color]} sign ?",
                " ".join(map(str, sign.digits)),
                [sign],
                w6=sign,
            )
            for sign in self.scene.of("sign")
        ]

    def tiny(self) -> list[Question]:
        return [
            _question("tiny", f"what color is the tiny {SHAPES[t.shape]} ?", COLOR_NAMES[t.color], [t], w5=t)
            for t in self.scene.of("tiny")
        ]


def ask(
    scene: Scene,
    rng: np.random.Generator,
    *,
    offset: tuple[int, int] = (0, 0),
    repeats: int = 2,
    counts: int = 2,
    relations: int = 2,
    where: int = 0,
) -> list[Question]:
    """All questions about a scene: one of each existence kind and a second adversarial one, `repeats` of attribute,
    `counts` of count, `relations` of spatial, `where` of the scaffold, and every sign and tiny shape. No text occurs
    twice in a task.

    `offset` (row, column in patches) places the scene in the full grid, for the absolute answers of "where".
    """
    asker = Asker(scene, rng, offset)
    asked: list[Question] = []
    for task in ("exist_random", "exist_popular", "exist_adversarial", "exist_adversarial"):
        asked += asker.existence(task)
    for _ in range(repeats):
        asked += asker.attribute()
    for _ in range(counts):
        asked += asker.count()
    for _ in range(relations):
        asked += asker.spatial()
    for _ in range(where):
        asked += asker.where()
    asked += asker.text() + asker.tiny()
    return list({(question.task, question.text): question for question in asked}.values())
