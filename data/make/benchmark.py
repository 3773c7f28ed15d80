"""Writes the embedded benchmark: `python -m data.make.benchmark`. The same command gives the same questions."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

from solvers.files import replacing

from .backgrounds import BACKGROUNDS
from .questions import MOST_NEEDED, Question, ask
from .scene import CLUTTER, SIZES, Scene, render
from .vocabulary import TASKS

FOLDER = Path(__file__).parents[1] / "mini_vqa"
SPLITS = {
    "test": (1080, 20263),
    "validation": (100, 20264),
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
        pa.field("background", pa.string()),
        pa.field("clutter", pa.string()),
        pa.field("object_size", pa.string()),
        pa.field("objects", pa.int8()),
        pa.field("text_length", pa.int8()),
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
| `background` | string | flat: gradient, stripes, checker, blocks; natural: clouds (1/f noise), leaves (dead leaves) |
| `clutter` | string | low, medium or high: {clutter} grey strokes on average |
| `object_size` | string | {sizes} px |
| `objects` | int8 | objects in the picture, tiny ones and signs not counted |
| `text_length` | int8 | digits on the sign that is asked about, 0 for the other tasks |

The last five say how hard a question is; `analysis.evaluation.MiniVqa().knobs` has them by `question_id`, to slice
accuracy with. About half of the pictures have a natural background, on which a coloured thing is not the only unlike
token.

{slices}

The majority prior is the accuracy of always giving the task's most frequent answer: an accuracy near it shows nothing.

{table}

Task forms: existence asks "is there a C S ?" (random: neither colour nor shape occurs; popular: the most popular
absent pair; adversarial: colour and shape both occur, never together); attribute asks a colour or a shape; count draws
the number first; spatial asks left of / right of / above / below for two objects at least 14 px apart; text asks the
two to four digits on a sign, exact match; tiny asks the colour of a shape of 9 to 10 px. No question needs more than
{most} tokens: a count is asked only where its evidence fits.

Checksums (sha256): {checksums}.
"""


def _png(scene: Scene) -> bytes:
    """With a palette where the colours fit into one, which halves the file."""
    colors, number = np.unique(scene.pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colors) <= 256:
        picture = Image.fromarray(number.reshape(scene.pixels.shape[:2]).astype(np.uint8), "P")
        picture.putpalette(colors.ravel().tolist())
    else:
        picture = Image.fromarray(scene.pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
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
                    **asdict(scene.look),
                    "objects": len(scene.of("object")),
                    "text_length": len(question.answer.split()) if question.task == "text" else 0,
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


def _slice_table(test: pd.DataFrame) -> str:
    lines = ["| knob | test questions |", "|---|---|"]
    for knob, order in (("background", BACKGROUNDS), ("clutter", CLUTTER), ("object_size", SIZES)):
        counts = test[knob].value_counts()
        lines.append(f"| {knob} | " + ", ".join(f"{level} {counts[level]:,}" for level in order) + " |")
    lengths = test.query("text_length > 0")["text_length"].value_counts().sort_index()
    lines.append("| text_length | " + ", ".join(f"{length} {count:,}" for length, count in lengths.items()) + " |")
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
        clutter=", ".join(map(str, CLUTTER.values())),
        sizes=", ".join(f"{name} {least} to {most}" for name, (least, most) in SIZES.items()),
        slices=_slice_table(splits["test"]),
        most=MOST_NEEDED,
        table=_prior_table(splits),
        checksums=", ".join(sums),
    )
    (folder / "README.md").write_text(card)


if __name__ == "__main__":
    typer.run(main)
