"""A vision-language model with its processor: questions about images in, answers out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from PIL.Image import Image
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from .adapter import AbstractAdapter

# Where a checkpoint lies and what its last writer noted, not what it is. The dtype is noted in some places only.
_VOLATILE = {"_commit_hash", "_name_or_path", "architectures", "dtype", "transformers_version"}


@dataclass(frozen=True, eq=False, repr=False)
class Vlm:
    """A loaded model; `load` makes one.

    Parameters
    ----------
    model
        The Hugging Face model, in evaluation mode.
    processor
        Its processor, with a chat template.
    adapter
        What the toolkit knows about its family.
    id
        Hub id or folder as asked for.
    revision
        Commit of the hub, or None for a local folder.
    config_hash
        12 hex digits that name the weights' architecture and, for a local folder, the weights; see `config_hash`.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    adapter: AbstractAdapter
    id: str
    revision: str | None
    config_hash: str

    def __repr__(self) -> str:
        grid = "{} x {}".format(*self.adapter.grid(self.model)) if self.adapter.fixed_grid else "any number of"
        return f"Vlm({self.id!r}, {self.model.config.model_type}, {grid} visual tokens, {self.config_hash})"

    @property
    def device(self) -> torch.device:
        return self.model.device

    def prepare(self, images: Image | Sequence[Image], questions: str | Sequence[str]) -> BatchFeature:
        """Inputs of the model on its device: a prompt per image and question, padded on the left.

        Raises
        ------
        ValueError
            If there are no questions, or not one image per question.
        """
        pictures = [images] if isinstance(images, Image) else list(images)
        asked = [questions] if isinstance(questions, str) else list(questions)
        if not asked or len(pictures) != len(asked):
            raise ValueError(
                f"`images` and `questions` must pair up and not be empty, got {len(pictures)} images "
                f"and {len(asked)} questions"
            )
        return self._processed(pictures, [self.prompt(question) for question in asked])

    def _processed(self, images: list[Image], prompts: list[str]) -> BatchFeature:
        processor: Any = self.processor
        # A list per prompt: some processors take a flat one for the images of a single prompt.
        batch: BatchFeature = processor(
            images=[[image] for image in images], text=prompts, padding=True, padding_side="left", return_tensors="pt"
        )
        batch.pop("labels", None)  # that of PaliGemma prepares for training
        batch["pixel_values"] = batch["pixel_values"].to(self.model.dtype)
        return batch.to(self.device)

    def prompt(self, question: str) -> str:
        """The chat template around one image and `question`, ready for the answer."""
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"`questions` must be texts that are not empty, got {question!r}")
        content = [{"type": "image"}, {"type": "text", "text": question}]
        processor: Any = self.processor
        text: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text

    @overload
    def answer(self, images: Image, questions: str, max_new_tokens: int = 16) -> str: ...

    @overload
    def answer(self, images: Sequence[Image], questions: Sequence[str], max_new_tokens: int = 16) -> list[str]: ...

    def answer(
        self, images: Image | Sequence[Image], questions: str | Sequence[str], max_new_tokens: int = 16
    ) -> str | list[str]:
        """Greedy answers without special tokens: one text for one image and question, a list for sequences.

        Raises
        ------
        ValueError
            If images and questions do not pair up, or `max_new_tokens` is below 1.
        """
        if max_new_tokens < 1:
            raise ValueError(f"`max_new_tokens` must be at least 1, got {max_new_tokens}")
        inputs = self.prepare(images, questions)
        model: Any = self.model
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        answers = self.decode(ids[:, inputs["input_ids"].shape[1] :])
        return answers[0] if isinstance(questions, str) else answers

    def decode(self, ids: torch.Tensor) -> list[str]:
        """Texts of generated ids [prompt, step], without special tokens and outer white space."""
        texts: list[str] = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


def config_hash(model: PreTrainedModel, folder: Path | None = None) -> str:
    """First 12 hex digits of the SHA-256 over the configuration and, if `folder` is given, its safetensors files.

    The configuration is its JSON with sorted keys, without the fields that depend on where and by which release it was
    loaded or saved, and with the dtype in use. On the hub the revision names the weights, so there the configuration is
    enough.
    """
    config = {"dtype": str(model.dtype), "config": _lasting(model.config.to_dict())}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _lasting(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _lasting(entry) for name, entry in value.items() if name not in _VOLATILE}


def fingerprint(model: PreTrainedModel) -> str:
    """Twelve hexadecimal digits that differ between models of other weights.

    Sixteen values of every parameter enter the SHA-256: enough to tell two trainings apart, and quick on a model of
    any size.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        picks = torch.linspace(0, flat.numel() - 1, min(16, flat.numel()), dtype=torch.float64).long()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(flat[picks.to(flat.device)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
