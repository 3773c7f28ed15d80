"""Load a checkpoint of a supported family, or say clearly why not."""

from __future__ import annotations

import difflib
import threading
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from solvers.names import unknown

from .adapter import AbstractAdapter
from .gemma3 import Gemma3Adapter
from .idefics3 import Idefics3Adapter
from .internvl import InternVLAdapter
from .llava import LlavaAdapter, SiglipLlavaAdapter
from .llava_next import LlavaNextAdapter
from .llava_onevision import LlavaOnevisionAdapter
from .mllama import MllamaAdapter
from .paligemma import PaliGemmaAdapter
from .qwen2_5_vl import Qwen25VLAdapter
from .qwen2_vl import Qwen2VLAdapter
from .qwen3_vl import Qwen3VLAdapter
from .vlm import Vlm, config_hash

FAMILIES: tuple[AbstractAdapter, ...] = (
    LlavaAdapter(),
    SiglipLlavaAdapter(),
    LlavaNextAdapter(),
    LlavaOnevisionAdapter(),
    Qwen2VLAdapter(),
    Qwen25VLAdapter(),
    Qwen3VLAdapter(),
    InternVLAdapter(),
    Gemma3Adapter(),
    PaliGemmaAdapter(),
    Idefics3Adapter(),
    MllamaAdapter(),
)

# While a model loads, transformers replaces methods of its own classes (tying of weights, initialisation) and puts back
# what it found: of two loads at once, the second would put back the replacement of the first, for good.
_one_load_at_a_time = threading.Lock()


def load(
    path_or_id: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
) -> Vlm:
    """Load a checkpoint with its processor, in evaluation mode; weights from safetensors only, no remote code.

    Parameters
    ----------
    path_or_id
        A local folder, or the id of a hub repository (needs a network, or a filled cache).
    device
        Where the model goes.
    dtype
        Floating point type of the whole model. One type for the vision tower and the language model: mixed ones have
        silently corrupted published pruning results.
    revision
        Commit, branch or tag of the hub repository.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist (the nearest one beside it is suggested), or nothing of that id can be had.
    ValueError
        If the model's family is not supported.
    OSError
        If files of the checkpoint are missing or damaged.

    Examples
    --------
    >>> vlm = load("data/mini_llava")  # doctest: +SKIP
    >>> vlm.answer(image, "how many red objects are there ?")  # doctest: +SKIP
    '2'
    """
    name, folder = str(path_or_id), Path(path_or_id)
    if not folder.is_dir():
        _refuse_missing_folder(name, folder)
    config = _config(name, folder, revision)
    adapter = _adapter(str(config.get("model_type")), config)
    model = _model(name, dtype, revision)
    processor = _processor(name, revision)
    local = folder if folder.is_dir() else None
    return Vlm(
        model=model.to(device).eval(),  # type: ignore[arg-type]  # the stub of `to` knows only its first overload
        processor=processor,
        adapter=adapter,
        id=name,
        revision=None if local else config.get("_commit_hash", revision),
        config_hash=config_hash(model, local),
    )


def wrap(model: PreTrainedModel, processor: ProcessorMixin, *, id: str = "in memory") -> Vlm:
    """A `Vlm` around a model that is in memory already; it is put into evaluation mode.

    Raises
    ------
    ValueError
        If the model's family is not supported.
    """
    return Vlm(model.eval(), processor, adapter_for(model), id, None, config_hash(model))


def adapter_for(model: PreTrainedModel) -> AbstractAdapter:
    """The adapter of a model's family.

    Raises
    ------
    ValueError
        If there is none; the supported families and the nearest are named.
    """
    config = model.config.to_dict()
    return _adapter(str(config.get("model_type")), config)


def _adapter(model_type: str, config: dict[str, Any]) -> AbstractAdapter:
    families = [family for family in FAMILIES if model_type in family.model_types]
    if not families:
        known = {name for family in FAMILIES for name in family.model_types}
        raise ValueError(unknown(model_type, known, "model type"))
    reasons = [family.refusal(config) for family in families]
    if None in reasons:
        return families[reasons.index(None)]
    raise ValueError(f"this {model_type!r} checkpoint is not supported: {'; or '.join(map(str, reasons))}")


def _refuse_missing_folder(name: str, folder: Path) -> None:
    """Raise if `name` is meant as a folder: absolute, relative with a dot, too deep for a hub id, or beside folders."""
    beside = folder.parent if folder.parent != Path() else None
    is_path = folder.is_absolute() or name.startswith(".") or len(folder.parts) != 2 or (beside and beside.is_dir())
    if not is_path:
        return
    siblings = [path.parent.name for path in folder.parent.glob("*/config.json")]
    close = difflib.get_close_matches(folder.name, siblings, n=1, cutoff=0.5)
    hint = f"; did you mean {str(folder.parent / close[0])!r}?" if close else ""
    raise FileNotFoundError(f"no model folder at {name!r}{hint}")


def _config(name: str, folder: Path, revision: str | None) -> dict[str, Any]:
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name!r} is not a model folder: it has no config.json")
    try:
        config: dict[str, Any] = PreTrainedConfig.get_config_dict(name, revision=revision)[0]
    except OSError as error:
        if folder.is_dir():
            raise OSError(f"the config.json of {name!r} cannot be read: {_first_line(error)}") from error
        raise FileNotFoundError(
            f"no model {name!r}: not a folder here, and not to be had from the hub ({_first_line(error)})"
        ) from error
    return config


def _model(name: str, dtype: torch.dtype, revision: str | None) -> PreTrainedModel:
    try:
        with _one_load_at_a_time:
            model: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(
                name, dtype=dtype, revision=revision, use_safetensors=True
            )
    except (SafetensorError, OSError) as error:
        raise OSError(f"the weights of {name!r} cannot be read: {_first_line(error)}") from error
    return model


def _processor(name: str, revision: str | None) -> ProcessorMixin:
    try:
        processor: Any = AutoProcessor.from_pretrained(name, revision=revision)
    except (OSError, ValueError, ImportError) as error:
        raise OSError(f"the processor of {name!r} cannot be read: {_first_line(error)}") from error
    if not isinstance(processor, ProcessorMixin) or not processor.chat_template:
        raise OSError(f"the processor of {name!r} must handle images and have a chat template")
    return processor


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
