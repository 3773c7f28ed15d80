"""A task that the tiny model has the words for, and benchmark files of the embedded format."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.evaluation import AbstractTask, MiniVqa, Question, Sample
from analysis.models import Vlm, load

TOY_FORMS = (
    ("exist", "is there a red square ?", "no"),
    ("color", "what color is the circle ?", "blue"),
    ("count", "how many star is there on the green sign ?", "3"),
    ("exist", "is there a blue circle ?", "yes"),
)


@dataclass(frozen=True)
class ToyTask(AbstractTask):
    """Random pictures, with two to four questions each."""

    images: int = 5
    checksum: str = "toy"
    name: ClassVar[str] = "toy"

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[Sample]:
        for image in range(self.images):
            rng = np.random.default_rng(image)
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            questions = tuple(
                Question(10 * image + i, words, answer, task, np.sort(rng.choice(16, i, replace=False)))
                for i, (task, words, answer) in enumerate(TOY_FORMS[: 2 + image % 3])
            )
            yield Sample(100 + image, Image.fromarray(pixels), questions)


@pytest.fixture(scope="session")
def toy_task() -> Callable[..., ToyTask]:
    """`toy_task(images=5)`: a task of that many images."""
    return ToyTask


@pytest.fixture
def benchmark_file(tmp_path: Path) -> Callable[..., Path]:
    """`benchmark_file(column=values, ...)`: three questions on two images, with columns replaced (None: left out)."""

    def write(**replaced: Any) -> Path:
        pictures = []
        for shade in (10, 200):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, format="PNG")
            pictures.append(buffer.getvalue())
        columns: dict[str, Any] = {
            "image_id": np.array([7, 3, 7], dtype=np.int32),
            "image": [pictures[0], pictures[1], pictures[0]],
            "question_id": np.array([0, 1, 2], dtype=np.int32),
            "question": ["is there a ring ?", "how many stars are there ?", "what color is the ring ?"],
            "answer": ["yes", "4", "red"],
            "task": ["exist", "count", "attribute"],
            "needed": [np.array([5, 9], dtype=np.int16), np.array([], dtype=np.int16), np.array([5], dtype=np.int16)],
        }
        columns = {name: value for name, value in (columns | replaced).items() if value is not None}
        path = tmp_path / "benchmark.parquet"
        pd.DataFrame(columns).to_parquet(path, index=False)
        return path

    return write


@pytest.fixture(scope="session")
def saved_vlm(tiny_vlm: Vlm, tmp_path_factory: pytest.TempPathFactory) -> Vlm:
    """The tiny model, loaded from a folder that other processes can load it from."""
    folder = tmp_path_factory.mktemp("model")
    tiny_vlm.model.save_pretrained(folder)
    tiny_vlm.processor.save_pretrained(folder)
    return load(folder)


@pytest.fixture(scope="session")
def toy_file(toy_task: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> MiniVqa:
    """The toy task in a file: other processes cannot import the tests."""
    rows = []
    for sample in toy_task(36):
        png = io.BytesIO()
        sample.image.save(png, format="PNG")
        for asked in sample.questions:
            row = {"image_id": sample.image_id, "image": png.getvalue(), "question_id": asked.question_id}
            row |= {"question": asked.question, "answer": asked.answer, "task": asked.task, "needed": asked.needed}
            rows.append(row)
    path = tmp_path_factory.mktemp("task") / "toy.parquet"
    pd.DataFrame(rows).astype({"image_id": "int32", "question_id": "int32"}).to_parquet(path, index=False)

    class Toy(MiniVqa):
        needed_grid: ClassVar[tuple[int, int] | None] = (6, 6)

    return Toy(path=path)
