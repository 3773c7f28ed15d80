"""One colour, one marker and one printed name per pruner, solver family and attention source; the same in every figure.

Methods share hues, and the marker tells them apart: there are more of them than colours that stay so. The nine hues
were found by a search in OKLab for the set whose closest pair stays farthest apart under normal vision and under
simulated deuteranopia, protanopia and tritanopia, with a contrast of at least 2.1 on white. Without colour, lines of
the same marker differ in their dashes, or by 25 in lightness (CIE L*). Text is never set in hues: labels are in ink,
beside a coloured marker.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

INK: Final = "#1F2328"
MUTED: Final = "#6B7280"
HAIRLINE: Final = "#D5D9DE"


Dash = str | tuple[float, tuple[float, ...]]
"""Matplotlib line style."""
_DASHED: Final[Dash] = (0, (4, 1.5))
_DOTTED: Final[Dash] = (0, (1.5, 1.5))
_MIXED: Final[Dash] = (0, (4, 1.5, 1, 1.5))
_LONG: Final[Dash] = (0, (9, 2))


class Look(NamedTuple):
    """How one name is drawn and printed."""

    label: str
    color: str
    marker: str
    dash: Dash = "-"


PRUNERS: Final[dict[str, Look]] = {
    "none": Look("Full model", INK, "", "-"),
    "oracle": Look("Oracle", INK, "*", (0, (5, 1.5))),
    "random": Look("Random", "#8A929C", "x", _DOTTED),
    "uniformgrid": Look("Uniform grid", "#8A929C", "+", _MIXED),
    "vispruner": Look("VisPruner", "#0A43B0", "o"),
    "fastervlm": Look("FasterVLM", "#B3511B", "s"),
    "divprune": Look("DivPrune", "#18867D", "D"),
    "cdpruner": Look("CDPruner", "#59BCF3", "^"),
    "greedyprune": Look("GreedyPrune", "#9762E9", "v"),
    "foprurank": Look("FoPru rank", "#F599A3", "P"),
    "foprurows": Look("FoPru rows", "#860870", "X"),
    "scope": Look("SCOPE", "#0A43B0", "D", _DOTTED),
    "mmtok": Look("MMTok", "#18867D", "v", _MIXED),
    "otprune": Look("OTPrune", "#59BCF3", "s"),
    "eadp": Look("EADP", "#9762E9", "D", _MIXED),
    "holov": Look("HoloV", "#B3511B", "v", _DOTTED),
    "hired": Look("HiRED", "#B3511B", "D", _LONG),
    "importantdivprune": Look("Important + DivPrune", "#18867D", "p", _DASHED),
    "visionzip": Look("VisionZip", "#0A43B0", "v", _DASHED),
    "prumerge": Look("PruMerge", "#F599A3", "s", _DASHED),
    "prumergeplus": Look("PruMerge+", "#F599A3", "D", _DASHED),
    "trim": Look("TRIM", "#9762E9", "s", _DOTTED),
    "pooling": Look("Pooling", "#8A929C", "d", _MIXED),
    "tome": Look("ToMe", "#860870", "o", _DASHED),
    "fastv": Look("FastV", "#A2AA19", "o"),
    "pyramiddrop": Look("PyramidDrop", "#A2AA19", "v", _DASHED),
    "sparsevlm": Look("SparseVLM", "#334401", "s", _DASHED),
    "sparsevlmplus": Look("SparseVLM+", "#334401", "D", _DASHED),
    "dart": Look("DART", "#860870", "^"),
    "feather": Look("FEATHER", "#A2AA19", "P", _DASHED),
    "greedypruneinside": Look("GreedyPrune inside", "#9762E9", "h", _DASHED),
    "greedyfacilitylocation": Look("Greedy facility location", "#A2AA19", "h"),
    "greedylogdet": Look("Greedy log-determinant", "#334401", "p"),
}
"""Keys are names without case, spaces and punctuation, so that "FoPruRank" and "fopru_rank" are the same pruner."""

BASELINES: Final = frozenset({"none", "oracle", "random", "uniformgrid", "pooling"})

# Solvers used as pruners, and names not known here: the hue says "not a published rule" or comes from the name.
_OTHERS: Final = ("#334401", "#9762E9", "#B3511B", "#18867D", "#860870")
_MARKERS: Final = ("<", ">", "d", "8", "H")

SOLVERS: Final[dict[str, Look]] = {
    "exact": Look("Exact", INK, "D"),
    "bruteforce": Look("Brute force", INK, "s"),
    "greedy": Look("Greedy", "#0A43B0", "^"),
    "lazygreedy": Look("Lazy greedy", "#59BCF3", "<", _DASHED),
    "stochasticgreedy": Look("Stochastic greedy", "#59BCF3", ">", _DOTTED),
    "thresholdgreedy": Look("Threshold greedy", "#18867D", "^", _DASHED),
    "localsearch": Look("Local search", "#B3511B", "P"),
    "dppmap": Look("DPP MAP", "#9762E9", ">"),
    "kdpp": Look("k-DPP sample", "#9762E9", "8", _DOTTED),
    "farthestfirst": Look("Farthest first", "#860870", "*"),
    "nonmaximumsuppression": Look("Non-maximum suppression", "#F599A3", "d"),
    "topk": Look("Top k", "#A2AA19", "s"),
}
"""As `PRUNERS`, for the solvers of a comparison; hues are shared, markers tell them apart."""

KINDS: Final[dict[str, Look]] = {
    "exact": Look("exact method", "#0A43B0", "D"),
    "solver": Look("solver", "#18867D", "o"),
    "rule": Look("published rule", "#B3511B", "s"),
    "baseline": Look("baseline", "#8A929C", "x"),
}

SOURCES: Final[dict[str, Look]] = {
    "vision CLS": Look("Vision CLS", "#0A43B0", "o"),
    "text last token": Look("Text, last token", "#B3511B", "s"),
    "vision mean received": Look("Vision, mean received", "#18867D", "D"),
    "text mean": Look("Text, mean", "#9762E9", "v"),
    "text mean received": Look("Text, received from the image", "#860870", "X"),
}

SCORES: Final[dict[str, Look]] = {
    "cls": SOURCES["vision CLS"],
    "last": SOURCES["text last token"],
    "text": SOURCES["text mean"],
    "equi": Look("Text, equal positions", "#59BCF3", "^"),
    "random": PRUNERS["random"],
    "oracle": PRUNERS["oracle"],
}
"""Scores that rank tokens, as `causes.usefulness_rows` names them, without the layer."""

QUARTILES: Final = ("#A9C3E8", "#6A97D6", "#2F67B9", "#0B2F6B")
"""First to last quarter of the raster order: light to dark, so that order survives in grey print."""


def key(name: str) -> str:
    """`name` without case, spaces and punctuation."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def is_baseline(name: str) -> bool:
    """Whether `name` is the full model, the oracle, or a choice that looks at nothing."""
    return key(name) in BASELINES


def look(name: str) -> Look:
    """Look of a pruner; a name that is not in `PRUNERS` gets a colour and a marker from its checksum.

    The checksum depends on the name alone, so adding a pruner never repaints another.
    """
    known = PRUNERS.get(key(name))
    if known is not None:
        return known
    checksum = zlib.crc32(name.encode())
    return Look(name, _OTHERS[checksum % len(_OTHERS)], _MARKERS[checksum // len(_OTHERS) % len(_MARKERS)])


def solver_look(name: str) -> Look:
    """Look of a solver or rule; parameters in brackets are printed, and change the marker but not the hue."""
    plain, _, parameters = name.partition("(")
    known = SOLVERS.get(key(plain)) or PRUNERS.get(key(plain))
    if known is None:
        return look(name)
    if not parameters:
        return known
    marker = _MARKERS[zlib.crc32(parameters.encode()) % len(_MARKERS)]
    return known._replace(label=f"{known.label} ({parameters}", marker=marker)


def kind_look(kind: str) -> Look:
    """Look of a group of selection methods; unknown kinds are drawn in ink."""
    return KINDS.get(kind, Look(kind, INK, "h"))


def source_look(source: str) -> Look:
    """Look of an attention source; unknown sources get one from their checksum."""
    return SOURCES.get(source) or look(source)


def score_look(score: str) -> Look:
    """Look of a score; "last_2" is that of "last", and printed with its layer."""
    plain, _, layer = score.partition("_")
    known = SCORES.get(plain) or look(plain)
    return known._replace(label=f"{known.label}, layer {layer}") if layer else known
