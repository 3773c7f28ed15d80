"""FastV on the embedded model: what is lost when tokens go after layer 2 instead of before layer 1.

Chen et al. 2024 (arXiv:2403.06764): behind layer K the visual tokens with the least attention from the last prompt
token (layer K, head mean) are dropped; ids stay. Dropping a token from layer K + 1 on is the same as hiding its key
from every later query, which is how it is done here: `python -m data.make.fastv`.
"""

from __future__ import annotations

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
    answered: list[list[bool]] = []  # per question, with all tokens and at each budget
    tasks: list[str] = []
    for sample, _ in zip(task, range(images), strict=False):
        answers, first, prompt = _laid_out(vlm, sample)
        tasks += [question.task for question in sample.questions]
        columns = [_all_right(vlm, *answers, first, prompt, keep) for keep in (0, *KEEPS)]
        answered += [list(row) for row in zip(*columns, strict=True)]
    frame = pd.DataFrame(answered, columns=[0, *KEEPS]).assign(task=tasks)
    accuracy = frame.groupby("task").mean().loc[list(TASKS)]
    accuracy.loc["mean"] = accuracy.mean()
    sizes = frame["task"].value_counts()
    return pd.DataFrame(
        [
            {
                "keep": keep,
                "task": name,
                "questions": int(sizes.get(name, len(frame))),
                "full": row[0],
                "estimate": row[keep],
                "lost": row[0] - row[keep],
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


def _all_right(vlm: Vlm, embeds: Tensor, targets: Tensor, first: int, prompt: Tensor, keep: int) -> list[bool]:
    """Per question, whether each token of the answer is the likeliest one; `keep` 0 drops nothing."""
    language: Any = vlm.adapter.language_model(vlm.model)
    head: Any = vlm.model.get_output_embeddings()
    n = vlm.adapter.tokens(vlm.model)
    length = embeds.shape[1]
    ids = torch.arange(length)[None]
    turned = language.rotary_emb(embeds, ids)
    hidden_keys = torch.full((length, length), torch.finfo(embeds.dtype).min).triu(1).repeat(len(embeds), 1, 1, 1)
    seen: list[Tensor] = []
    hook = language.layers[AFTER_LAYER - 1].self_attn.register_forward_hook(lambda *call: seen.append(call[2][1]))
    implementation = vlm.model.config.get_text_config()._attn_implementation
    language.set_attn_implementation("eager")
    try:
        state = embeds
        for number, layer in enumerate(language.layers):
            if keep and number == AFTER_LAYER:
                score = seen[0].mean(1)[torch.arange(len(embeds)), prompt, first : first + n]
                dropped = score.argsort(dim=1, descending=True, stable=True)[:, keep:] + first
                for row, tokens in enumerate(dropped):
                    hidden_keys[row, 0, :, tokens] = torch.finfo(embeds.dtype).min
            state = layer(state, attention_mask=hidden_keys, position_ids=ids, position_embeddings=turned)
            state = state[0] if isinstance(state, tuple) else state
    finally:
        hook.remove()
        language.set_attn_implementation(implementation)
    chosen = head(language.norm(state)).argmax(-1)
    return ((chosen == targets) | (targets == -100)).all(1).tolist()
