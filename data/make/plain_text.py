"""Docstrings as tokens: a vocabulary that begins with that of the embedded model, and windows of a long stream.

Every word that the questions of `data/mini_vqa` are made of keeps its id, so that a model which has read docstrings
reads questions as well; what else the text needs are word pieces behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from solvers.arrays import IntArray

from .docstrings import Docstring
from .vocabulary import BOS, EOS, IMAGE, PAD, TOKEN, WORDS

SPECIAL = (PAD, BOS, EOS, IMAGE, "USER:", "ASSISTANT:")


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A lower-case word-piece tokenizer of `size` tokens, of which the first are the words of the embedded model.

    Words are what stands between spaces and punctuation, digits stand alone. A word is split into the longest pieces
    there are, from the left, and a word of the embedded model is a piece: its id never changes.

    Raises
    ------
    ValueError
        If the texts do not have as many pieces.
    """
    learner = _untrained({PAD: 0})
    # twice as many pieces as there is room for: those that are words of the embedded model fall away
    trainer = trainers.WordPieceTrainer(vocab_size=size + len(WORDS), special_tokens=[PAD], show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learned = sorted(learner.get_vocab().items(), key=lambda entry: entry[1])
    pieces = [piece for piece, _ in learned if piece not in TOKEN][: size - len(WORDS)]
    if len(pieces) < size - len(WORDS):
        raise ValueError(f"`size` must be at most {len(WORDS) + len(pieces)} for these texts, got {size}")
    return _untrained(dict(TOKEN) | {piece: len(WORDS) + at for at, piece in enumerate(pieces)})


def _untrained(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=PAD, max_input_chars_per_word=60))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def stock_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The same as a processor wants it: `<s>` in front, and the marks of a prompt found in its text."""
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, TOKEN[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=whole,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[token for token in SPECIAL if token not in (PAD, BOS, EOS)],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )


def stream(tokenizer: Tokenizer, entries: Sequence[Docstring], seed: int = 0) -> NDArray[np.int32]:
    """All entries one behind the other in a random order, each `USER: name ASSISTANT: text </s>`.

    The marks are those of a question and its answer, so that the token that asks for an answer has been trained.
    """
    order = np.random.default_rng(seed).permutation(len(entries))
    names = tokenizer.encode_batch_fast([entry.name for entry in entries])
    texts = tokenizer.encode_batch_fast([entry.text for entry in entries])
    ids: list[int] = []
    for at in order:
        ids += [TOKEN["USER:"], *names[at].ids, TOKEN["ASSISTANT:"], *texts[at].ids, TOKEN[EOS]]
    return np.array(ids, dtype=np.int32)


def windows(tokens: NDArray[np.int32], numbers: IntArray, length: int) -> tuple[Tensor, Tensor]:
    """Windows of the stream by number: inputs, which begin with `<s>`, and next tokens, both int64 [window, token].

    Raises
    ------
    ValueError
        If the stream has no such window.
    """
    count = len(tokens) // length
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
        raise ValueError(f"`numbers` must be in [0, {count}) for {len(tokens)} tokens, got up to {numbers.max()}")
    rows = tokens[: count * length].reshape(count, length)[numbers].astype(np.int64)
    inputs = np.concatenate([np.full((len(rows), 1), TOKEN[BOS]), rows[:, :-1]], axis=1)
    return torch.from_numpy(inputs), torch.from_numpy(rows)
