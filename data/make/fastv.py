"""FastV on the embedded model: what is lost when tokens go after layer 2 instead of before layer 1.

Chen et al. 2024 (arXiv:2403.06764): behind layer K the visual tokens with the least attention from the last prompt
token (layer K, head mean) are dropped; ids stay. Answers are read off the likeliest tokens behind the reference answer:
greedy decoding gives the reference exactly when each of its tokens is the likeliest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from analysis.evaluation import MiniVqa, Sample
from analysis.models import Vlm

from .vocabulary import EOS, TASKS, TOKEN

AFTER_LAYER = 2
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
        answers, first, prompt = _laid_out(vlm, sample)
        tasks += [question.task for question in sample.questions]
        columns = _all_right(vlm, *answers, first, prompt, (everything, *KEEPS))
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


def _laid_out(vlm: Vlm, sample: Sample) -> tuple[tuple[Tensor, Tensor], int, Tensor]:
    """Embeddings of prompt and answer [question, token, width] with the token ids they are to predict (-100: none), the
    place of the first visual token, and of the last prompt token [question]."""
    processor: Any = vlm.processor
    inputs = vlm.prepare([sample.image] * len(sample.questions), [q.question for q in sample.questions])
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    sequences, lengths = [], []
    for row, seen, question in zip(ids, mask, sample.questions, strict=True):
        answer = processor.tokenizer(question.answer, add_special_tokens=False)["input_ids"]
        sequences.append([*row[seen.bool()].tolist(), *answer, TOKEN[EOS]])
        lengths.append(len(sequences[-1]) - len(answer) - 1)
    longest = max(map(len, sequences))
    tokens = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences])
    targets = torch.full_like(tokens, -100)
    for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        targets[row, length - 1 : len(sequence) - 1] = torch.tensor(sequence[length:])
    image = tokens == vlm.model.config.image_token_id
    base: Any = vlm.model.model
    features = base.get_image_features(pixel_values=inputs["pixel_values"][:1]).pooler_output
    embeds = vlm.adapter.embedding(vlm.model)(tokens)
    embeds[image] = torch.cat(list(features)).repeat(len(tokens), 1)
    return (embeds, targets), int(image[0].int().argmax()), torch.tensor(lengths) - 1


def _all_right(
    vlm: Vlm, embeds: Tensor, targets: Tensor, first: int, prompt: Tensor, keeps: Sequence[int]
) -> list[list[bool]]:
    """For each budget and question, whether each token of the answer is the likeliest one."""
    language: Any = vlm.adapter.language_model(vlm.model)
    head: Any = vlm.model.get_output_embeddings()
    n, rows = vlm.adapter.tokens(vlm.model), torch.arange(len(embeds))[:, None]
    ids = torch.arange(embeds.shape[1])[None].expand(len(embeds), -1)
    state, score = _score(language, embeds, ids, first, prompt, n)
    order = score.argsort(dim=1, descending=True, stable=True)
    found = []
    for keep in keeps:
        stays = torch.ones(ids.shape, dtype=torch.bool)
        stays[rows, order[:, keep:] + first] = False
        columns = stays.nonzero()[:, 1].reshape(len(embeds), -1)  # every row keeps as many
        left = _through(language, language.layers[AFTER_LAYER:], state[rows, columns], ids[rows, columns])
        chosen, wanted = head(language.norm(left)).argmax(-1), targets[rows, columns]
        found.append(((chosen == wanted) | (wanted == -100)).all(1).tolist())
    return found


def _score(language: Any, embeds: Tensor, ids: Tensor, first: int, prompt: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """States behind layer `AFTER_LAYER`, and its attention from the last prompt token to the image [row, token]."""
    seen: list[Tensor] = []
    attention = language.layers[AFTER_LAYER - 1].self_attn
    hook = attention.register_forward_hook(lambda *call: seen.append(call[2][1]))
    implementation = language.config._attn_implementation
    language.set_attn_implementation("eager")  # the one that returns its weights
    try:
        state = _through(language, language.layers[:AFTER_LAYER], embeds, ids)
    finally:
        hook.remove()
        language.set_attn_implementation(implementation)
    return state, seen[0].mean(1)[torch.arange(len(embeds)), prompt, first : first + n]


def _through(language: Any, layers: Any, state: Tensor, ids: Tensor) -> Tensor:
    turned = language.rotary_emb(state, ids)
    mask = torch.full((state.shape[1],) * 2, torch.finfo(state.dtype).min).triu(1)[None, None]
    for layer in layers:
        out = layer(state, attention_mask=mask, position_ids=ids, position_embeddings=turned)
        state = out[0] if isinstance(out, tuple) else out
    return state
