"""Measure what visual tokens do in a vision-language model: attention, pruning, accuracy, cost.

load              a Hugging Face checkpoint, by path or hub id
record            attention rows while the model runs, fused kernels kept
capture_dataset   the same for many images, into one Zarr store
prune, pruners    drop visual tokens inside the stock model, reversibly
evaluate          a benchmark under every pruner and budget, a row per question
run_study         all of it, to one report: the command `prunescope study`
explorer_frame    the token explorer of a report in a notebook

Names are loaded when first used, so that `import analysis` and `prunescope --help` do not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import causes as causes
    from . import cost as cost
    from . import figures as figures
    from . import metrics as metrics
    from .capture import ClsRow as ClsRow
    from .capture import Entropy as Entropy
    from .capture import FullMap as FullMap
    from .capture import ImageRows as ImageRows
    from .capture import LastRow as LastRow
    from .capture import MeanReceived as MeanReceived
    from .capture import Pictures as Pictures
    from .capture import TextMean as TextMean
    from .capture import TopK as TopK
    from .capture import capture_dataset as capture_dataset
    from .capture import open_dump as open_dump
    from .capture import open_dumps as open_dumps
    from .capture import record as record
    from .evaluation import accuracy_table as accuracy_table
    from .evaluation import evaluate as evaluate
    from .models import Vlm as Vlm
    from .models import load as load
    from .pruning import prune as prune
    from .pruning import pruner as pruner
    from .pruning import pruners as pruners
    from .report import explorer_frame as explorer_frame
    from .study import run_study as run_study

_HOME = {
    "capture": (
        "ClsRow",
        "Entropy",
        "FullMap",
        "ImageRows",
        "LastRow",
        "MeanReceived",
        "Pictures",
        "TextMean",
        "TopK",
        "capture_dataset",
        "open_dump",
        "open_dumps",
        "record",
    ),
    "evaluation": ("accuracy_table", "evaluate"),
    "models": ("Vlm", "load"),
    "pruning": ("prune", "pruner", "pruners"),
    "report": ("explorer_frame",),
    "study": ("run_study",),
}
_SUBMODULES = ("causes", "cost", "figures", "metrics")
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted((*_MODULE_OF, *_SUBMODULES))


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
