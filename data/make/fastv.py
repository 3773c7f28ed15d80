"""FastV on the embedded model: what is lost when tokens go after layer 2 instead of before layer 1.

Chen et al. 2024 (arXiv:2403.06764), as `analysis.prune` runs it: behind layer K the visual tokens with the least
attention from the last prompt token (layer K, head mean) are dropped; ids stay. Answers are read off the likeliest
tokens behind the reference answer: greedy decoding gives the reference exactly when each of its tokens is the likeliest
one.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from analysis.evaluation import MiniVqa, Sample
from analysis.models import Vlm
from analysis.pruning import prune
from analysis.pruning.pruners import FastV

from .vocabulary import EOS, TASKS, TOKEN

KEEPS = (192, 128, 64, 32)


@torch.no_grad()
def measure_fastv(vlm: Vlm, task: MiniVqa, images: int) -> pd.DataFrame:
    """Accuracy of the first images of a task with all tokens and with `KEEPS` of them behind layer 2.

    Returns a row per budget and task, and one with task "mean": keep, task, questions, full, estimate, lost.
    """
    everything = vlm.adapter.tokens(vlm.model)
    answered: list[list[bool]] = []  # per question, with all tokens and at each budget
    tasks: list[str] = []
    for sample, _ in zip(task, range(images), strict=False):
        tasks += [question.task for question in sample.questions]
        columns = [all_right(vlm, sample, keep) for keep in (None, *KEEPS)]
        answered += [list(row) for row in zip(*columns, strict=True)]
    frame = pd.DataFrame(answered, columns=[everything, *KEEPS]).assign(task=tasks)
    accuracy = frame.groupby("task").mean().loc[list(TASKS)]
    accuracy.loc["mean"] = accuracy.mean()
    sizes = frame["task"].value_counts()
    return pd.DataFrame(
        [
            {
                "keep": keep,
                "task": name,
                "questions": int(sizes.get(name, len(frame))),
                "full": row[everything],
                "estimate": row[keep],
                "lost": row[everything] - row[keep],
            }
            for keep in KEEPS
            for name, row in accuracy.iterrows()
        ]
    )


def all_right(vlm: Vlm, sample: Sample, keep: int | None) -> list[bool]:
    """For each question, whether each token of the answer is the likeliest one; None keeps every visual token."""
    inputs, targets = _with_answers(vlm, sample)
    model: Any = vlm.model
    with prune(vlm, FastV(layer=2), keep) if keep is not None else nullcontext():
        logits = model(**inputs, logits_to_keep=targets.shape[1]).logits  # the prompts end where these begin
    right: list[bool] = ((logits.argmax(-1) == targets) | (targets == -100)).all(1).tolist()
    return right


def _with_answers(vlm: Vlm, sample: Sample) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs of the model, the answers behind the prompts, and the token ids that the last columns are to predict
    [question, token] (-100: none)."""
    processor: Any = vlm.processor
    inputs = vlm.prepare([sample.image] * len(sample.questions), [q.question for q in sample.questions])
    words = [processor.tokenizer(q.answer, add_special_tokens=False)["input_ids"] for q in sample.questions]
    longest = max(map(len, words))
    # What fills a row behind its answer is seen by nothing that counts, so it need not be padding.
    answers = torch.tensor([[*answer, *[TOKEN[EOS]] * (longest - len(answer))] for answer in words])
    targets = torch.tensor([[*answer, TOKEN[EOS], *[-100] * (longest - len(answer))] for answer in words])
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    written = {
        "input_ids": torch.cat([ids, answers.to(ids)], 1),
        "attention_mask": torch.cat([mask, torch.ones_like(answers).to(mask)], 1),
    }
    return {**inputs, **written}, targets.to(ids)
