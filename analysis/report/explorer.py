"""Data of the token explorer: small enough to sit inside the page, and nothing but plain JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.figures import frames, palette

from .content import ExplorerImage, ExplorerQuestion, Place, Reply


class _Sets:
    """Token sets as base64 bit fields, least significant bit first; equal sets are stored once."""

    def __init__(self) -> None:
        self.encoded: dict[str, int] = {}

    def add(self, tokens: Iterable[int], size: int) -> int:
        bits = np.zeros(size, dtype=np.uint8)
        bits[np.asarray(list(tokens), dtype=np.int64)] = 1
        text = _base64(np.packbits(bits, bitorder="little").tobytes())
        return self.encoded.setdefault(text, len(self.encoded))


class _Maps:
    """Attention maps as a byte per token, 255 times the root of the weight over the largest one.

    The root keeps what is small apart: most weights are far below the largest.
    """

    def __init__(self) -> None:
        self.encoded: list[dict[str, Any]] = []
        self.places: dict[tuple[Place, bool], int] = {}

    def add(self, attention: Mapping[Place, npt.ArrayLike], *, inside: bool) -> list[tuple[int, int]]:
        """Numbers of place and map for each entry."""
        found = []
        for place, given in attention.items():
            weights = np.asarray(given, dtype=np.float64)
            largest = float(weights.max())
            roots = np.sqrt(weights / (largest or 1.0))
            found.append((self.places.setdefault((place, inside), len(self.places)), len(self.encoded)))
            coded = _base64((255 * roots).round().astype(np.uint8).tobytes())
            self.encoded.append({"roots": coded, "largest": float(f"{largest:.6g}")})
        return found


def explorer_data(images: Sequence[ExplorerImage]) -> dict[str, Any]:
    """What the scripts of the explorer read.

    Returns
    -------
    images
        name, src (PNG as a data URI), rows, cols, all (number of the set of all tokens), attention (pairs of place and
        map number), and questions with text, answer, task, full (the full model's reply or None), needed (set number),
        attention, and choices: pruner, keep, set number, reply or None, stages (pairs of layer and set number). A reply
        is text and whether it is right (True, False or None).
    sets
        Base64 bit fields.
    maps
        roots (base64 bytes) and largest (the weight that byte 255 stands for).
    places
        label, layer, inside (whether inside the language model).
    pruners
        name, label, color; the full model, "none", is the last one.
    keeps
        Budgets, largest first.
    """
    sets, maps = _Sets(), _Maps()
    encoded = [_image(image, sets, maps) for image in images]
    chosen = dict.fromkeys(choice for image in images for question in image.questions for choice in question.kept)
    looks = {name: palette.look(name) for name in dict.fromkeys(pruner for pruner, _ in chosen)}
    looks[frames.FULL] = palette.look(frames.FULL)
    return {
        "images": encoded,
        "sets": list(sets.encoded),
        "maps": maps.encoded,
        "places": [
            {"label": palette.source_look(source).label, "layer": int(layer), "inside": inside}
            for (source, layer), inside in maps.places
        ],
        "pruners": [{"name": name, "label": look.label, "color": look.color} for name, look in looks.items()],
        "keeps": sorted({int(keep) for _, keep in chosen}, reverse=True),
    }


def _image(image: ExplorerImage, sets: _Sets, maps: _Maps) -> dict[str, Any]:
    rows, cols = image.grid
    return {
        "name": image.name,
        "src": png_data_uri(_png(image)),
        "rows": rows,
        "cols": cols,
        "all": sets.add(range(rows * cols), rows * cols),
        "attention": maps.add(image.attention, inside=False),
        "questions": [_question(question, sets, maps, rows * cols) for question in image.questions],
    }


def _question(question: ExplorerQuestion, sets: _Sets, maps: _Maps, tokens: int) -> dict[str, Any]:
    full = [reply for (pruner, _), reply in question.replies.items() if pruner == frames.FULL]
    return {
        "text": question.question,
        "answer": question.answer,
        "task": question.task,
        "full": _reply(full[0] if full else None),
        "needed": sets.add(question.needed, tokens),
        "attention": maps.add(question.attention, inside=True),
        "choices": [
            [
                *(pruner, int(keep), sets.add(kept, tokens), _reply(question.replies.get((pruner, keep)))),
                [(int(at), sets.add(left, tokens)) for at, left in question.stages.get((pruner, keep), {}).items()],
            ]
            for (pruner, keep), kept in question.kept.items()
        ],
    }


def _reply(reply: Reply | None) -> tuple[str, bool | None] | None:
    # a frame's own type of truth is no JSON
    return None if reply is None else (reply.text, None if reply.correct is None else bool(reply.correct))


def _png(image: ExplorerImage) -> bytes:
    buffer = io.BytesIO()
    image.image.convert("RGB").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def png_data_uri(png: bytes) -> str:
    """PNG bytes as an address that needs no file."""
    return "data:image/png;base64," + _base64(png)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
