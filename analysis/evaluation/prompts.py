"""Questions as token ids on either side of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.models import Vlm


@dataclass(frozen=True)
class Prompt:
    """A question in the model's chat template.

    Attributes
    ----------
    before
        Token ids before the image: what questions about one image share where the template puts the image first.
    after
        Token ids behind the image, up to where the answer starts.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def n_text(self) -> int:
        """Number of text tokens."""
        return len(self.before) + len(self.after)


def tokenise(vlm: Vlm, questions: Sequence[str]) -> list[Prompt]:
    """The ids that `vlm.prepare` gives each question, split at the image, without processing any picture.

    Raises
    ------
    ValueError
        If a question is empty, or its prompt does not hold exactly one image with text behind it.
    """
    if not questions:
        return []
    processor: Any = vlm.processor
    # one placeholder stands for the image here; the processor would repeat it once per visual token
    rows: list[list[int]] = processor.tokenizer([vlm.prompt(question) for question in questions])["input_ids"]
    image = vlm.adapter.image_token_id(vlm.model)
    prompts = []
    for question, ids in zip(questions, rows, strict=True):
        if ids.count(image) != 1 or ids[-1] == image:
            raise ValueError(
                f"the prompt of a question must hold one image with text behind it, got {ids.count(image)} "
                f"placeholders for {question!r}"
            )
        at = ids.index(image)
        prompts.append(Prompt(tuple(ids[:at]), tuple(ids[at + 1 :])))
    return prompts
