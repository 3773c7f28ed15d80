"""What a notebook prints, compared number by number."""

from __future__ import annotations

import math
import re

from nbformat import NotebookNode

TEXTS = ("text/plain", "text/html", "text/markdown", "text/latex")
RELATIVE = 1e-3
NUMBER = re.compile(r"(?<![\w.#])[-+]?\d[\d,]*(?:\.\d*)?(?:[eE][-+]?\d+)?")
# What differs from run to run: wall times, and pictures inside HTML, which are compared by being there.
MASKS = ((re.compile(r"\b\d+(?:\.\d+)? s\b"), "(time)"), (re.compile(r"data:image/png;base64,[\w+/=]+"), "(picture)"))


def pieces(cell: NotebookNode) -> list[tuple[str, str]]:
    """Kind and text of all that a cell put out, the kinds of one output in order; of figures whether they are PNGs."""
    found = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream":
            found.append((output["name"], output["text"]))
        for kind, content in sorted(output.get("data", {}).items()):
            if kind == "image/png":
                found.append((kind, "PNG" if content.startswith("iVBORw0KGgo") else "no PNG"))
            elif kind in TEXTS and not (kind == "text/plain" and "image/png" in output["data"]):
                found.append((kind, content))
    return found


def difference(stored: str, found: str) -> str | None:
    """How two texts differ beyond white space, times and the last digits of their numbers; None if they do not."""
    old, new = _masked(stored), _masked(found)
    if NUMBER.sub("0", old) != NUMBER.sub("0", new):
        return f"stored {old!r}, found {new!r}"
    for before, after in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
        if not _close(before, after):
            return f"stored {before}, found {after} in {new!r}"
    return None


def _masked(text: str) -> str:
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return re.sub(r"[\s\\]+", " ", text).strip()


def _close(before: str, after: str) -> bool:
    """Equal but for `RELATIVE`, or for one unit in the last place that is printed after a decimal point."""
    a, b = (float(number.replace(",", "")) for number in (before, after))
    mantissa, _, exponent = before.lower().partition("e")
    places = len(mantissa.partition(".")[2]) if "." in mantissa else None
    unit = 0.0 if places is None else 1.01 * 10.0 ** (int(exponent or 0) - places)
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=unit)
