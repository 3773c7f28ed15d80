"""Data of the token explorer: small enough to sit inside the page, and nothing but plain JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from analysis.figures import frames, palette

from .content import ExplorerImage, ExplorerQuestion


class _Sets:
    """Token sets as base64 bit fields, least significant bit first; equal sets are stored once."""

    def __init__(self) -> None:
        self.encoded: dict[str, int] = {}

    def add(self, tokens: Iterable[int], size: int) -> int:
        bits = np.zeros(size, dtype=np.uint8)
        bits[np.asarray(list(tokens), dtype=np.int64)] = 1
        text = base64.b64encode(np.packbits(bits, bitorder="little").tobytes()).decode("ascii")
        return self.encoded.setdefault(text, len(self.encoded))


def explorer_data(images: Sequence[ExplorerImage]) -> dict[str, Any]:
    """What `explorer.js` reads.

    Returns
    -------
    images
        name, src (PNG as a data URI), rows, cols, and questions with text, answer, task, full (the full model's answer
        or None), needed (set number) and choices: pruner, keep, set number, prediction or None.
    sets
        Base64 bit fields.
    pruners
        name, label, color.
    keeps
        Budgets, largest first.
    """
    sets = _Sets()
    pruners: dict[str, None] = {}
    keeps: set[int] = set()
    encoded = []
    for image in images:
        rows, cols = image.grid
        for question in image.questions:
            pruners.update(dict.fromkeys(pruner for pruner, _ in question.kept))
            keeps.update(int(keep) for _, keep in question.kept)
        encoded.append(
            {
                "name": image.name,
                "src": png_data_uri(_png(image)),
                "rows": rows,
                "cols": cols,
                "questions": [_question(question, sets, rows * cols) for question in image.questions],
            }
        )
    looks = {name: palette.look(name) for name in pruners}
    return {
        "images": encoded,
        "sets": list(sets.encoded),
        "pruners": [{"name": name, "label": look.label, "color": look.color} for name, look in looks.items()],
        "keeps": sorted(keeps, reverse=True),
    }


def _question(question: ExplorerQuestion, sets: _Sets, tokens: int) -> dict[str, Any]:
    full = [answer for (pruner, _), answer in question.predictions.items() if pruner == frames.FULL]
    return {
        "text": question.question,
        "answer": question.answer,
        "task": question.task,
        "full": full[0] if full else None,
        "needed": sets.add(question.needed, tokens),
        "choices": [
            [pruner, int(keep), sets.add(kept, tokens), question.predictions.get((pruner, keep))]
            for (pruner, keep), kept in question.kept.items()
        ],
    }


def _png(image: ExplorerImage) -> bytes:
    buffer = io.BytesIO()
    image.image.convert("RGB").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def png_data_uri(png: bytes) -> str:
    """PNG bytes as an address that needs no file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
