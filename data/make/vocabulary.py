"""The words, shapes, colours and tasks that the embedded benchmark is made of."""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 165, 60),
    "blue": (45, 80, 225),
    "yellow": (240, 215, 40),
    "purple": (145, 55, 185),
    "orange": (245, 130, 25),
    "cyan": (60, 205, 215),
    "pink": (245, 135, 185),
}
COLOR_NAMES = tuple(COLORS)

# Scenes draw colours and shapes from this prior, so that "popular" negatives exist, as POPE's do.
POPULARITY = (0.22, 0.19, 0.16, 0.13, 0.10, 0.08, 0.07, 0.05)

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
WORDS = (
    *(PAD, BOS, EOS, IMAGE, "USER:", "ASSISTANT:", "?"),
    *("is", "are", "there", "a", "the", "what", "where", "how", "many", "which", "on", "of"),
    *("color", "shape", "number", "object", "objects", "sign", "tiny"),
    *("left", "right", "above", "below", "yes", "no"),
    *SHAPES,
    *(f"{shape}s" for shape in SHAPES),
    *COLOR_NAMES,
    *"0123456789",
)
TOKEN = {word: index for index, word in enumerate(WORDS)}

# The tasks of the benchmark, in the order of its tables. "where" is a training scaffold only: it teaches the
# absolute position that the relations of "spatial" compare.
TASKS = (
    "exist_random",
    "exist_popular",
    "exist_adversarial",
    "attribute",
    "count",
    "spatial",
    "text",
    "tiny",
)
TRAINING_TASKS = (*TASKS, "where")
