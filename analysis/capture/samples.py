"""Samples of a capture: an image with an id and a question, checked as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL.Image import Image


class Item(NamedTuple):
    """One sample."""

    image_id: Any
    image: Image
    question: str


class Checker(Protocol):
    """What knows the samples that were captured before."""

    def check(self, number: int, image_id: object, question: str) -> None: ...


def items_of(samples: Iterable[Any], numbers: Sequence[int]) -> Iterator[tuple[int, Item]]:
    """The samples of `numbers`, ascending; others are not even loaded where samples can be had by index."""
    if isinstance(samples, Sequence):
        for number in numbers:
            yield number, item_of(number, samples[number])
    else:
        for number, sample in enumerate(samples):
            if number in numbers:
                yield number, item_of(number, sample)


def item_of(number: int, sample: Any) -> Item:
    """A sample, whatever form it has; ValueError if it has none."""
    if isinstance(sample, tuple) and len(sample) == 3:
        item = Item(*sample)
    else:
        try:
            item = Item(sample.image_id, sample.image, sample.questions[0].question)
        except (AttributeError, IndexError, TypeError) as error:
            raise ValueError(
                "`samples` must hold (image_id, image, question), or objects with image_id, image and questions; "
                f"sample {number} is a {type(sample).__name__}: {error}"
            ) from error
    if not isinstance(item.image, Image) or not isinstance(item.question, str):
        raise ValueError(
            f"sample {number} must have a PIL image and a question of type str, got "
            f"{type(item.image).__name__} and {type(item.question).__name__}"
        )
    return item


def missing(
    items: Iterator[tuple[int, Item]], captured: npt.NDArray[np.bool_], known: Checker | None, batch_size: int
) -> Iterator[tuple[int, list[Item]]]:
    """Batches of neighbours that are not captured, with the number of their first; captured ones are compared."""
    batch: list[Item] = []
    start = 0
    for number, item in items:
        if captured[number]:
            assert known is not None
            known.check(number, item.image_id, item.question)
        else:
            start = start if batch else number
            batch.append(item)
        if batch and (captured[number] or len(batch) == batch_size):
            yield start, batch
            batch = []
    if batch:
        yield start, batch
