"""Small copies of the published benchmarks in their official formats, and rows as `evaluate` makes them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.evaluation import AbstractBenchmark


def picture_bytes(shade: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def png() -> Callable[[int], bytes]:
    """`png(shade)`: a red picture of that shade."""
    return picture_bytes


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """`write(name, content)` below the folder of the test: bytes, text, JSON, or JSON lines for `.jsonl` names."""

    def written(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(f"{json.dumps(line)}\n" for line in content), encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return written


@pytest.fixture
def write_shards(tmp_path: Path) -> Callable[..., Path]:
    """`write_shards(rows, name, shards=2, group=2)`: `<name>-00000-of-00002.parquet` ... below the test's folder.

    Values under "image" are bytes, written as the structure that data sets of Hugging Face have; `group` is the number
    of rows in a row group. Returns the folder of the shards.
    """

    def written(rows: list[dict[str, Any]], name: str, *, shards: int = 2, group: int = 2) -> Path:
        first = tmp_path / name
        first.parent.mkdir(parents=True, exist_ok=True)
        size = -(-len(rows) // shards)
        for number in range(shards):
            part = [dict(row) for row in rows[number * size : (number + 1) * size]]
            for row in part:
                content = row.get("image")
                if "image" in row:
                    row["image"] = None if content is None else {"bytes": content, "path": "x.png"}
            path = first.with_name(f"{first.name}-{number:05d}-of-{shards:05d}.parquet")
            pq.write_table(pa.Table.from_pylist(part), path, row_group_size=group)
        return first.parent

    return written


@pytest.fixture
def rows_of() -> Callable[[AbstractBenchmark, Sequence[str]], pd.DataFrame]:
    """`rows_of(task, replies)`: rows as of `evaluate`, a reply per question in the order of the task."""

    def rows(task: AbstractBenchmark, replies: Sequence[str]) -> pd.DataFrame:
        asked = [(sample.image_id, question) for sample in task for question in sample.questions]
        assert len(asked) == len(replies)
        setting = {"model": "m", "pruner": "none", "keep": 576, "position_ids": "keep", "seed": 0}
        cost = {"kept": 576, "flops": 1, "kv_bytes": 1, "select_ms": 0.0}
        return pd.DataFrame(
            [
                {
                    **setting,
                    **cost,
                    "image_id": image,
                    "question_id": question.question_id,
                    "task": question.task,
                    "answer": question.answer,
                    "prediction": reply,
                    **task.marks(question, reply),
                }
                for (image, question), reply in zip(asked, replies, strict=True)
            ]
        )

    return rows


@pytest.fixture
def pope_folder(write: Callable[[str, Any], Path], tmp_path: Path) -> Path:
    """Two pictures; four random, two popular and two adversarial questions, each file numbered from 1."""
    for number in (1, 2):
        write(f"val2014/COCO_val2014_{number}.jpg", picture_bytes(number))
    asked = {"random": "yes no yes no", "popular": "yes no", "adversarial": "yes no"}
    for category, labels in asked.items():
        lines = [
            {
                "question_id": number,
                "image": f"COCO_val2014_{1 + (number - 1) // 2}.jpg",
                "text": f"Is there a {category} thing {number} in the image?",
                "label": label,
            }
            for number, label in enumerate(labels.split(), 1)
        ]
        write(f"coco_pope_{category}.json", "".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path


@pytest.fixture
def mmbench_table() -> list[dict[str, Any]]:
    """A question of three options in its three rotations, one of two options with a hint and one rotation."""
    image = base64.b64encode(picture_bytes(7)).decode()
    other = base64.b64encode(picture_bytes(8)).decode()
    common = {"hint": "", "question": "What is it?", "category": "object", "source": "x", "D": ""}
    return [
        {"index": 5, **common, "A": "cat", "B": "dog", "C": "cow", "answer": "A", "image": image},
        {"index": 1000005, **common, "A": "dog", "B": "cow", "C": "cat", "answer": "C", "image": "5"},
        {"index": 2000005, **common, "A": "cow", "B": "cat", "C": "dog", "answer": "B", "image": image},
        {
            "index": 6,
            **common,
            "hint": "Look up.",
            "A": "sun",
            "B": "moon",
            "C": "",
            "answer": "B",
            "category": "scene",
            "image": other,
        },
    ]


@pytest.fixture
def write_table(tmp_path: Path) -> Callable[..., Path]:
    """`write_table(rows, name)`: a table with tabs in the folder of the test, which is returned."""

    def written(rows: list[dict[str, Any]], name: str = "mmbench_dev_20230712.tsv") -> Path:
        pd.DataFrame(rows).to_csv(tmp_path / name, sep="\t", index=False)
        return tmp_path

    return written
