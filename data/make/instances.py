"""Writes the real selection problems and their card: `python -m data.make.instances`.

Tokens of the embedded model on test pictures of the embedded benchmark; the same files every time on the same machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from analysis import load
from analysis.evaluation import MiniVqa, Sample
from analysis.evaluation.prompts import tokenise
from analysis.models import Vlm
from analysis.pruning import encode_images
from analysis.pruning.pruners.features import relevance
from analysis.pruning.tokens import unit_or_zero
from solvers import Problem
from solvers.instances.recorded import SUFFIX, read_instance, write_instance

DATA = Path(__file__).parents[1]
FOLDER = DATA / "instances"
MODEL = DATA / "mini_llava"
IMAGES = 20
WITH_MAP = 2  # a map of attention is four times as large as all the rest
MOSAIC = 4  # pictures of the mosaic, those after the first IMAGES
QUARTERS = ((0, 0), (1, 0), (0, 1), (1, 1))  # left and upper corner in pictures, in raster order

CARD = """# instances

{count} real selection problems: what the language model of `data/mini_llava` gets to see of {images} test pictures of
`data/mini_vqa`, and of one mosaic. Read with `solvers.instances.load(name)`; written by
`python -m data.make.instances`. Licence: Apache-2.0, as the project.

One safetensors file per problem:

| array | type | meaning |
|---|---|---|
| `features` | float16 [token, 128] | projected visual tokens, as they enter the language model |
| `cls` | float32 [token] | attention of the CLS token to each token in the block of the features, mean over heads |
| `relevance` | float32 [token] | mean cosine of the token with the words of the picture's first question |
| `queries` | float16 [word, 128] | input embeddings of these words, with those of the template around them |
| `attention_map` | float16 [token, token] | attention among the tokens in that block; {with_map} pictures only |
| `groups` | uint8 [token] | tile of the token; mosaic only |

The header names picture, question, model and benchmark. Half precision is part of the problem: solvers and bounds see
the rounded features.

`mini_vqa_000` to `mini_vqa_{last:03d}` are single pictures, 24 x 24 tokens. `mosaic_000` has 2,880 tokens in five
tiles, cut as LLaVA-NeXT cuts a picture: first an overview, then four quarters. It is a construction: the picture is
four test pictures side by side, and the embedded model, which was trained on single pictures, encodes each tile by
itself. Its question is that of the first quarter.

What these are not: features of a large CLIP. The model is small, its pictures are rendered, and its tokens lie close
together: the median cosine of two tokens and the effective rank (exponential of the entropy of the spectrum) are in
the table. `solvers.instances.clip_like` has cosines like those of CLIP patches.

| file | tokens | median cosine | effective rank | bytes | SHA-256 |
|---|---|---|---|---|---|
{table}
"""


def picture_problem(vlm: Vlm, sample: Sample, *, with_map: bool) -> Problem:
    """The tokens of one picture [576] with the words of its first question."""
    return _problem(vlm, [sample.image], sample, f"mini_vqa_{sample.image_id:03d}", with_map)


def mosaic_problem(vlm: Vlm, samples: Sequence[Sample]) -> Problem:
    """The tokens of an overview of four pictures side by side, then of the four [5 * 576]."""
    pictures = [sample.image for sample in samples]
    width, height = pictures[0].size
    whole = Image.new("RGB", (2 * width, 2 * height))
    for picture, (right, down) in zip(pictures, QUARTERS, strict=True):
        whole.paste(picture, (right * width, down * height))
    overview = whole.resize((width, height), Image.Resampling.BICUBIC)
    return _problem(vlm, [overview, *pictures], samples[0], "mosaic_000", False)


def _problem(vlm: Vlm, tiles: Sequence[Image.Image], sample: Sample, id: str, with_map: bool) -> Problem:
    processor: Any = vlm.processor
    needs = {"projected", "cls"} | ({"attention_map"} if with_map else set())
    encoded = [  # one at a time: in a batch the last bits would depend on the other tiles
        encode_images(vlm, processor.image_processor([tile], return_tensors="pt")["pixel_values"], needs)[0]
        for tile in tiles
    ]
    (prompt,) = tokenise(vlm, [sample.questions[0].question])
    with torch.no_grad():
        words = vlm.adapter.embedding(vlm.model)(torch.tensor(prompt.after, device=vlm.device)).float().cpu().numpy()
    # Rounded before anything follows from them, so that the file is consistent in itself.
    features = np.concatenate([tokens.projected for tokens in encoded]).astype(np.float16).astype(np.float32)
    queries = words.astype(np.float16).astype(np.float32)
    signals = {
        "cls": np.concatenate([tokens.evidence("cls") for tokens in encoded]),
        "relevance": relevance(unit_or_zero(features), queries).astype(np.float32),
    }
    if with_map:
        assert encoded[0].attention_map is not None
        signals["attention_map"] = encoded[0].attention_map.astype(np.float16).astype(np.float32)
    several = len(encoded) > 1
    return Problem.from_features(
        features,
        budget=1,
        signals=signals,
        grid=None if several else encoded[0].grid,
        groups=np.repeat(np.arange(len(encoded)), len(encoded[0])) if several else None,
        queries=queries,
        id=id,
    )


def with_attention_map(vlm: Vlm, problem: Problem, sample: Sample) -> Problem:
    """`problem`, made of `sample`, with the map of attention that most files leave out."""
    full = picture_problem(vlm, sample, with_map=True)
    signals = dict(problem.signals) | {"attention_map": full.signals["attention_map"]}
    return replace(problem, signals=signals)


def effective_rank(problem: Problem) -> float:
    """Exponential of the entropy of the normalised eigenvalues of the similarity."""
    spectrum = np.clip(np.linalg.eigvalsh(problem.similarity), 1e-300, None)
    share = spectrum / spectrum.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _row(path: Path) -> str:
    problem = read_instance(path)
    median = np.median(problem.similarity[np.triu_indices(problem.tokens, 1)])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    numbers = f"{problem.tokens} | {median:.3f} | {effective_rank(problem):.1f} | {path.stat().st_size}"
    return f"| `{path.name}` | {numbers} | `{digest}` |"


def main(
    folder: Annotated[Path, typer.Option(help="Where the problems and the card go.")] = FOLDER,
) -> None:
    """Encode, write the problems, then the card from them."""
    vlm, task = load(str(MODEL)), MiniVqa()
    samples = list(islice(iter(task), IMAGES + MOSAIC))
    problems = [picture_problem(vlm, s, with_map=i < WITH_MAP) for i, s in enumerate(samples[:IMAGES])]
    problems.append(mosaic_problem(vlm, samples[IMAGES:]))
    shown = [[sample] for sample in samples[:IMAGES]] + [samples[IMAGES:]]
    paths = []
    for problem, group in zip(problems, shown, strict=True):
        about = {
            "pictures": f"{task.name} {task.split} {', '.join(str(sample.image_id) for sample in group)}",
            "question": group[0].questions[0].question,
            "model": vlm.config_hash,
            "benchmark": task.checksum,
        }
        paths.append(folder / f"{problem.id}{SUFFIX}")
        write_instance(problem, paths[-1], about)
        typer.echo(f"{paths[-1]}: {problem.tokens} tokens, {paths[-1].stat().st_size:,} bytes")
    card = CARD.format(
        count=len(paths),
        images=IMAGES,
        last=IMAGES - 1,
        with_map=WITH_MAP,
        table="\n".join(_row(path) for path in sorted(paths)),
    )
    (folder / "README.md").write_text(card)


if __name__ == "__main__":
    typer.run(main)
