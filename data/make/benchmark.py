"""Writes the embedded benchmark: `python -m data.make.benchmark`. The same command gives the same questions."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

from solvers.files import replacing

from .questions import Question, ask
from .scene import Scene, render
from .vocabulary import TASKS

FOLDER = Path(__file__).parents[1] / "mini_vqa"
SPLITS = {
    "test": (400, 20261),
    "validation": (100, 20262),
}  # images, seed: no training batch is drawn from these

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.int32()),
        pa.field("image", pa.dictionary(pa.int32(), pa.binary())),
        pa.field("question_id", pa.int32()),
        pa.field("question", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("task", pa.string()),
        pa.field("needed", pa.list_(pa.int16())),
    ]
)

CARD = """# mini_vqa

A rendered visual-question benchmark for the embedded model: {images} test images with {questions} questions, and a
validation split of {val_images} images with {val_questions}. 192 x 192 px, 24 x 24 patches of 8 px. Every scene and
question is drawn by `data/make` from a fixed seed that no training batch uses; regenerate with
`python -m data.make.benchmark`. Licence: Apache-2.0, as the project.

One parquet file per split, a row per question:

| column | type | meaning |
|---|---|---|
| `image_id` | int32 | number of the image in its split |
| `image` | binary | PNG bytes (dictionary encoded: stored once per image) |
| `question_id` | int32 | number of the question in its split |
| `question`, `answer` | string | words separated by blanks; a number is spelt digit by digit |
| `task` | string | one of the eight tasks below |
| `needed` | list of int16 | raster indices of the visual tokens that show what is asked about; empty for an absence |

The majority prior is the accuracy of always giving the task's most frequent answer: an accuracy near it shows nothing.

{table}

Task forms: existence asks "is there a C S ?" (random: neither colour nor shape occurs; popular: the most popular
absent pair; adversarial: colour and shape both occur, never together); attribute asks a colour or a shape; count draws
the number first; spatial asks left of / right of / above / below for two objects at least 14 px apart; text asks the
two or three digits on a sign, exact match; tiny asks the colour of a shape of 9 to 10 px.

Checksums (sha256): {checksums}.
"""


def _png(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene.pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def needed_tokens(scene: Scene, question: Question) -> list[int]:
    """Raster indices of the patches that show the question's evidence, ascending."""
    patches = [scene.patches_of(item) for item in question.evidence]
    return sorted({int(p) for some in patches for p in some})


def make_split(images: int, seed: int) -> pd.DataFrame:
    """All questions of `images` scenes as a frame with the columns of `SCHEMA`."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for image_id in range(images):
        scene = render(rng)
        png = _png(scene)
        for question in ask(scene, rng):
            rows.append(
                {
                    "image_id": image_id,
                    "image": png,
                    "question_id": len(rows),
                    "question": question.text,
                    "answer": question.answer,
                    "task": question.task,
                    "needed": needed_tokens(scene, question),
                }
            )
    return pd.DataFrame(rows)


def write_split(frame: pd.DataFrame, path: Path) -> None:
    with replacing(path) as unfinished:
        # the dictionary holds every picture once; its default limit of 1 MB would spell the rest out per question
        pq.write_table(
            pa.Table.from_pandas(frame, SCHEMA, preserve_index=False),
            unfinished,
            use_dictionary=["image"],
            dictionary_pagesize_limit=1 << 28,
            compression="zstd",
        )


def _prior_table(splits: dict[str, pd.DataFrame]) -> str:
    lines = [
        "| task | test questions | majority prior | most frequent answer | mean needed tokens |",
        "|---|---|---|---|---|",
    ]
    for task in TASKS:
        rows = splits["test"].query("task == @task")
        counts = rows["answer"].value_counts()
        needed = rows["needed"].map(len).mean()
        lines.append(f"| {task} | {len(rows)} | {counts.iloc[0] / len(rows):.3f} | {counts.index[0]} | {needed:.1f} |")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Option(help="Where the parquet files and the card go.")] = FOLDER,
) -> None:
    """Render both splits, then write the card from them."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {name: make_split(*settings) for name, settings in SPLITS.items()}
    sums = []
    for name, frame in splits.items():
        path = folder / f"{name}.parquet"
        write_split(frame, path)
        sums.append(f"`{path.name}` {hashlib.sha256(path.read_bytes()).hexdigest()}")
        typer.echo(
            f"{path}: {frame['image_id'].nunique()} images, {len(frame)} questions, {path.stat().st_size:,} bytes"
        )
    card = CARD.format(
        images=splits["test"]["image_id"].nunique(),
        questions=f"{len(splits['test']):,}",
        val_images=splits["validation"]["image_id"].nunique(),
        val_questions=f"{len(splits['validation']):,}",
        table=_prior_table(splits),
        checksums=", ".join(sums),
    )
    (folder / "README.md").write_text(card)


if __name__ == "__main__":
    typer.run(main)
