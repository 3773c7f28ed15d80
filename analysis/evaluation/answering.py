"""Greedy answers to many questions at once, with each image's prompt prefix read a single time.

All questions about an image share their prompt up to and including the visual tokens. They are laid out behind that
prefix in one sequence, as a tree: questions share columns as long as their words agree, and from there on each is
blind to the others. All are at the position ids they would have alone, so that one forward pass equals a pass per
question. The answers then grow together in one key-value cache. Questions that share nothing (a question-aware pruner
keeps other tokens for each, a template puts the question first) are contexts of their own with one question each: the
same code, batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from analysis.models import Vlm
from analysis.pruning.inputs import PositionPolicy, checked_policy, first_position_after

from .linear import fast_linear

_ALTERING = ("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "min_length",
             "min_new_tokens", "bad_words_ids", "begin_suppress_tokens", "forced_bos_token_id",
             "forced_eos_token_id", "sequence_bias")  # fmt: skip


_PADDED_TO = 8
"""Sequences are padded to a multiple of so many columns: oneDNN prepares a product for every shape, and keeps it."""


@dataclass(frozen=True, eq=False)
class Context:
    """An image as the language model is to see it, and the questions asked behind it.

    Parameters
    ----------
    before
        Token ids of the prompt before the image.
    visual
        Kept visual tokens after the projector [k, D], in raster order.
    kept
        Their indices among the image's tokens [k], ascending.
    total
        Number of tokens of the whole image.
    after
        For each question, the token ids behind the image up to where the answer starts; none may be empty.
    """

    before: tuple[int, ...]
    visual: Tensor
    kept: NDArray[np.int64]
    total: int
    after: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.kept) != len(self.visual) or not len(self.kept):
            raise ValueError(f"`kept` must name each of the {len(self.visual)} visual tokens, got {len(self.kept)}")
        if not self.after or not all(self.after):
            raise ValueError("every question needs at least one token behind the image")

    @property
    def shared(self) -> int:
        """Columns in front of the questions."""
        return len(self.before) + len(self.kept)

    @cached_property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """The column of each word of each question: questions share those of the words that they begin with alike."""
        known: dict[tuple[int, ...], int] = {}
        for words in self.after:
            for end in range(len(words)):
                known.setdefault(words[: end + 1], self.shared + len(known))
        return tuple(tuple(known[words[: end + 1]] for end in range(len(words))) for words in self.after)

    @property
    def length(self) -> int:
        """Columns of the packed sequence."""
        return 1 + max(max(columns) for columns in self.columns)

    @property
    def padded(self) -> int:
        """Columns with padding up to the next multiple of `_PADDED_TO`."""
        return -(-self.length // _PADDED_TO) * _PADDED_TO


def answer_tokens(
    vlm: Vlm,
    contexts: Sequence[Context],
    *,
    position_ids: str = "keep",
    max_new_tokens: int = 16,
    tokens_per_batch: int = 2048,
) -> list[list[list[int]]]:
    """Greedy answers as token ids, one list per context, in it one per question.

    Equal to `model.generate(do_sample=False)` on each question alone with the same visual tokens kept; an answer
    includes its end token.

    Parameters
    ----------
    position_ids
        "keep" leaves every token the position id it has in the full prompt; "compact" numbers what is left without
        gaps. The two agree where all tokens are kept.
    max_new_tokens
        Longest answer.
    tokens_per_batch
        Bound on sequences times columns in a forward pass; a longer context goes alone.

    Raises
    ------
    KeyError
        If `position_ids` names no policy; the nearest is suggested.
    ValueError
        If a number is out of range, the model's attention takes no 4-D mask (flash attention) or slides over less than
        a packed sequence, or its generation settings change greedy decoding (a repetition penalty, for example).
    """
    policy = checked_policy(position_ids)
    _check(vlm, max_new_tokens, tokens_per_batch)
    _check_window(vlm, contexts, max_new_tokens)
    answers: list[list[list[int]]] = [[] for _ in contexts]
    with torch.inference_mode(), fast_linear(vlm.adapter.language_model(vlm.model)):
        for members in _batches([context.padded for context in contexts], tokens_per_batch):
            decoder = _Decoder(vlm, [contexts[i] for i in members], policy)
            for i, found in zip(members, decoder.run(max_new_tokens), strict=True):
                answers[i] = found
    return answers


def answer_texts(vlm: Vlm, contexts: Sequence[Context], **options: Any) -> list[list[str]]:
    """`answer_tokens`, decoded without special tokens."""
    answers = answer_tokens(vlm, contexts, **options)
    processor: Any = vlm.processor
    flat = [tokens for found in answers for tokens in found]
    texts = iter(processor.batch_decode(flat, skip_special_tokens=True) if flat else ())
    return [[next(texts).strip() for _ in found] for found in answers]


def end_tokens(model: Any) -> frozenset[int]:
    """Ids at which the model's own `generate` stops."""
    end = model.generation_config.eos_token_id
    return frozenset() if end is None else frozenset([end] if isinstance(end, int) else end)


def _check(vlm: Vlm, max_new_tokens: int, tokens_per_batch: int) -> None:
    for name, value in (("max_new_tokens", max_new_tokens), ("tokens_per_batch", tokens_per_batch)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}")
    attention = vlm.model.config.get_text_config()._attn_implementation
    if attention not in ("sdpa", "eager"):
        raise ValueError(f"packed answering needs sdpa or eager attention, the model runs {attention!r}")
    settings = vlm.model.generation_config
    altering = [name for name in _ALTERING if getattr(settings, name, None) not in (None, 0, 1.0, [], {})]
    if altering:
        raise ValueError(f"the model's generation_config sets {', '.join(altering)}: its answers would not be greedy")


def _check_window(vlm: Vlm, contexts: Sequence[Context], max_new_tokens: int) -> None:
    window = getattr(vlm.model.config.get_text_config(), "sliding_window", None)
    longest = max((c.padded + len(c.after) * max_new_tokens for c in contexts), default=0)
    if window and longest > window:
        raise ValueError(
            f"packed answering needs attention to everything: {longest} columns exceed the model's sliding window of "
            f"{window}"
        )


def _batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of contexts that go together: similar in length, so that little is padding."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # the first of a batch is its longest, to which the others are padded
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


@dataclass
class _Asked:
    """One question on its way to an answer."""

    row: int
    number: int  # among the questions of its context
    column: int  # where its latest token stands
    position: int  # position id of its next token
    tokens: list[int] = field(default_factory=list)


class _Decoder:
    """The contexts of one batch: packed, read once, then decoded step by step.

    `owners` says for every column of the cache which questions it belongs to [row, column, question]: all, in front of
    the questions; none, if it is padding. A query sees the columns that belong to all the questions it belongs to.
    """

    def __init__(self, vlm: Vlm, contexts: Sequence[Context], policy: PositionPolicy) -> None:
        self.language: Any = vlm.adapter.language_model(vlm.model)
        self.embed = vlm.adapter.embedding(vlm.model)
        self.head: Any = vlm.model.get_output_embeddings()
        self.end = end_tokens(vlm.model)
        settings: Any = vlm.model.generation_config
        self.suppressed: list[int] = settings.suppress_tokens or []
        self.device, self.dtype = vlm.model.device, vlm.model.dtype
        text = vlm.model.config.get_text_config()
        self.cache = DynamicCache(config=text)
        self.contexts = contexts
        self._lay_out(policy)

    def _lay_out(self, policy: PositionPolicy) -> None:
        shape = len(self.contexts), max(context.padded for context in self.contexts)
        tokens, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        owners = np.zeros((*shape, max(len(context.after) for context in self.contexts)), dtype=bool)
        visual = np.zeros(shape, dtype=bool)
        self.asked: list[_Asked] = []
        for row, context in enumerate(self.contexts):
            start, at = len(context.before), context.shared
            tokens[row, :start] = context.before
            positions[row, :start] = np.arange(start)
            positions[row, start:at] = start + (context.kept if policy == "keep" else np.arange(len(context.kept)))
            visual[row, start:at] = True
            owners[row, :at] = True
            behind = first_position_after(start, context.total, len(context.kept), policy)
            for number, (words, columns) in enumerate(zip(context.after, context.columns, strict=True)):
                tokens[row, columns], positions[row, columns] = words, behind + np.arange(len(words))
                owners[row, columns, number] = True
                self.asked.append(_Asked(row, number, columns[-1], behind + len(words)))
        self.owners = torch.from_numpy(owners).to(self.device)
        self.positions = torch.from_numpy(positions).to(self.device)
        self.embeds = self.embed(torch.from_numpy(tokens).to(self.device))
        features = torch.cat([context.visual for context in self.contexts])
        self.embeds[torch.from_numpy(visual).to(self.device)] = features.to(self.device, self.dtype)

    def run(self, max_new_tokens: int) -> list[list[list[int]]]:
        """Answers by context and question."""
        hidden = self._forward(self.embeds, self.positions, self._mask_of_prompts())
        active = self._extend(self.asked, hidden)
        for _ in range(max_new_tokens - 1):
            if not active:
                break
            self._drop_finished_rows(active)
            active = self._extend(active, self._step(active))
        answers: list[list[list[int]]] = [[] for _ in self.contexts]
        questions = iter(self.asked)
        for context, found in zip(self.contexts, answers, strict=True):
            found += [next(questions).tokens for _ in context.after]
        return answers

    def _extend(self, active: Sequence[_Asked], hidden: Tensor) -> list[_Asked]:
        """Append the likeliest token to each answer; the questions that are not at their end yet."""
        rows = torch.tensor([question.row for question in active], device=self.device)
        columns = torch.tensor([question.column for question in active], device=self.device)
        logits = self.head(hidden[rows, columns])
        logits[:, self.suppressed] = -torch.inf
        chosen = logits.argmax(-1).tolist()
        for question, token in zip(active, chosen, strict=True):
            question.tokens.append(token)
        return [question for question in active if question.tokens[-1] not in self.end]

    def _step(self, active: Sequence[_Asked]) -> Tensor:
        """Hidden states of the active questions' latest tokens, one column per question of the fullest row."""
        used = [0] * len(self.owners)
        for question in active:
            question.column = used[question.row]
            used[question.row] += 1
        shape = len(used), max(used)
        tokens, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        owners = np.zeros((*shape, self.owners.shape[2]), dtype=bool)
        for question in active:
            at = question.row, question.column
            tokens[at], positions[at], owners[(*at, question.number)] = question.tokens[-1], question.position, True
            question.position += 1
        new = torch.from_numpy(owners).to(self.device)
        self.owners = torch.cat([self.owners, new], 1)
        embeds = self.embed(torch.from_numpy(tokens).to(self.device))
        return self._forward(embeds, torch.from_numpy(positions).to(self.device), self._mask(self._visible(new)))

    def _visible(self, queries: Tensor) -> Tensor:
        """Which columns each query may see [row, query, column]; shared ones always, so that no row is empty."""
        foreign = queries.float() @ (~self.owners).float().transpose(1, 2)
        return foreign == 0

    def _mask_of_prompts(self) -> Tensor:
        length = self.owners.shape[1]
        if self.owners.shape[2] == 1:
            # Padding, if any, is behind the only question: the plain causal kernel, which is faster, hides it too.
            return torch.ones(len(self.owners), length, dtype=torch.bool, device=self.device)
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        return self._mask(self._visible(self.owners) & causal)

    def _mask(self, visible: Tensor) -> Tensor:
        # Added to the scores: eager attention takes no other, and sdpa makes one of booleans anew in every layer.
        mask = torch.zeros(visible.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(~visible, torch.finfo(self.dtype).min)[:, None]

    def _forward(self, embeds: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        output = self.language(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        result: Tensor = output.last_hidden_state
        return result

    def _drop_finished_rows(self, active: Sequence[_Asked]) -> None:
        """Forget the contexts whose questions are all answered, once they are the majority."""
        alive = sorted({question.row for question in active})
        if 2 * len(alive) > len(self.owners):
            return
        index = torch.tensor(alive, device=self.device)
        self.cache.batch_select_indices(index)
        self.owners = self.owners[index]
        renamed = {row: number for number, row in enumerate(alive)}
        for question in active:
            question.row = renamed[question.row]
