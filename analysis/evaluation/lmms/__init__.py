"""Any supported checkpoint with any pruner as a model of lmms-eval (0.7.3 or later), named "prunescope".

Installed with the extra `lmms`, it is found by lmms-eval itself, through an entry point::

    lmms_eval --model prunescope --model_args pretrained=data/mini_llava,pruner=vispruner,keep=64 --tasks ...

`arguments` has all of `--model_args`. Questions, generation settings and scoring are those of lmms-eval's tasks; what
cannot be answered is refused, and an error stays one: nothing that failed is scored as an empty answer. lmms-eval's
command prints an error and reports no score, but ends with status 0; with `--verbosity DEBUG` the error ends it.
Nothing here imports lmms-eval before lmms-eval asks for the model.
"""

from __future__ import annotations

from typing import Any

MODEL = "prunescope"


def manifests() -> list[Any]:
    """What the entry point group `lmms_eval.models` asks for: the name of the model, and the class behind it.

    Returns
    -------
    list of lmms_eval.models.registry_v2.ModelManifest
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return [ModelManifest(MODEL, chat_class_path=f"{__name__}.model.PruneScope")]
