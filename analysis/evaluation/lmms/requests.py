"""What a request of lmms-eval asks for: a chat with pictures, and how the answer is to be generated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from transformers import GenerationConfig

from analysis.models import Vlm

MAX_NEW_TOKENS = 1024
"""Where a task does not say: what lmms-eval's own models take."""
_UNDERSTOOD = ("do_sample", "max_new_tokens", "num_beams", "temperature", "top_k", "top_p", "until")


@dataclass(frozen=True)
class Generation:
    """How an answer is generated: greedily, unless the task says otherwise.

    Attributes
    ----------
    max_new_tokens
        Longest answer.
    num_beams
        Beams.
    sampling
        Pairs of name and value for `generate` where the answer is drawn; empty otherwise.
    until
        An answer ends before the first of these texts.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    num_beams: int = 1
    sampling: tuple[tuple[str, float], ...] = ()
    until: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Generation:
        """The `generation_kwargs` of a task.

        An answer is drawn if the temperature is above 0 and `do_sample` is not false, as in lmms-eval's own models.

        Raises
        ------
        ValueError
            If a number is out of range, a stop text is empty, or the task asks for what `generate` could do but is not
            supported here. A setting that `generate` does not know is warned about and left out.
        """
        said = {name: value for name, value in given.items() if value is not None}
        strange = [name for name in said if name not in _UNDERSTOOD]
        refused = [name for name in strange if hasattr(GenerationConfig(), name)]
        if refused:
            raise ValueError(f"generation settings must be of {', '.join(_UNDERSTOOD)}, got {', '.join(refused)}")
        if strange:
            warnings.warn(f"generation settings {', '.join(strange)} have no effect here", stacklevel=2)
        numbers = {name: int(said.get(name, standard)) for name, standard in _NUMBERS.items()}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"`{name}` must be at least 1, got {number}")
        stops = said.get("until", ())
        until = (stops,) if isinstance(stops, str) else tuple(stops)
        if not all(isinstance(text, str) and text for text in until):
            raise ValueError(f"`until` must hold texts that are not empty, got {until}")
        return cls(**numbers, sampling=_sampling(said), until=until)

    @property
    def options(self) -> dict[str, Any]:
        """For `generate`."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": bool(self.sampling),
            **dict(self.sampling),
        }

    def cut(self, text: str) -> str:
        """The answer up to where the first stop text stands, without outer white space."""
        ends = [at for stop in self.until if (at := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))].strip()


_NUMBERS = {"max_new_tokens": MAX_NEW_TOKENS, "num_beams": 1}


def _sampling(said: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    temperature = float(said.get("temperature", 1.0 if said.get("do_sample") else 0.0))
    if temperature < 0:
        raise ValueError(f"`temperature` must be at least 0, got {temperature}")
    if not temperature or said.get("do_sample") is False:
        return ()
    return (("temperature", temperature), *((name, said[name]) for name in ("top_k", "top_p") if name in said))


@dataclass(frozen=True)
class Chat:
    """A prompt in the model's chat template, ready for the answer, and its pictures in the order of their places."""

    prompt: str
    pictures: tuple[Image.Image, ...]


def read_chat(vlm: Vlm, messages: Sequence[Mapping[str, Any]]) -> Chat:
    """The messages of a document: role and content, a list of ``{"type": "text" or "image", ...}``.

    One user message of a picture and a question becomes the prompt that `evaluate` asks.

    Raises
    ------
    ValueError
        If there is anything but texts and pictures, no text, or a text that the chat template leaves out.
    OSError
        If a picture is named by a path and cannot be read.
    """
    pictures: list[Image.Image] = []
    texts: list[str] = []
    chat = []
    for message in messages:
        content: list[dict[str, str]] = []
        for part in message["content"]:
            kind = part["type"]
            if kind == "image":
                pictures.append(_picture(part["url"]))
                content.append({"type": "image"})
            elif kind == "text":
                texts.append(part["text"])
                content.append({"type": "text", "text": part["text"]})
            else:
                raise ValueError(f"a prompt must hold texts and images only, got {kind!r}")
        chat.append({"role": message["role"], "content": content})
    if not any(text.strip() for text in texts):
        raise ValueError("a prompt must hold a text that is not empty")
    processor: Any = vlm.processor
    prompt: str = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    lost = [text for text in texts if text.strip() not in prompt]
    if lost:
        raise ValueError(f"the chat template of {vlm.id!r} leaves out {lost[0]!r}")
    return Chat(prompt, tuple(pictures))


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if not isinstance(image, str):
        raise ValueError(f"an image must be a picture or the path of one, got {type(image).__name__}")
    with Image.open(image) as opened:
        return opened.convert("RGB")
