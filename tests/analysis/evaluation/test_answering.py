"""Packed answers against the stock `generate`, alone and inside `prune`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analysis.evaluation import AbstractTask, Context, Question, answer_texts, answer_tokens
from analysis.evaluation.answering import _batches
from analysis.evaluation.prompts import tokenise
from analysis.models import Vlm
from analysis.pruning import AbstractPruner, encode_images, prune, pruners

STEPS = 6
AWARE, UNAWARE = (pruners.CDPruner(), pruners.Oracle()), (pruners.VisPruner(), pruners.Random())
QUESTION_FIRST = (
    "{% for message in messages %}USER: {{ message['content'][1]['text'] }} <image> {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def contexts_of(vlm: Vlm, task: AbstractTask, pruner: AbstractPruner, keep: int, *, packed: bool) -> list[Context]:
    """The contexts of all questions, written out: one per image if `packed`, else one per question."""
    contexts = []
    for sample in task:
        encoded = encode_images(vlm, vlm.prepare(sample.image, "is")["pixel_values"], pruner.needs)
        alone = []
        for question, prompt in zip(
            sample.questions, tokenise(vlm, [question.question for question in sample.questions]), strict=True
        ):
            words = vlm.adapter.embedding(vlm.model)(torch.tensor(prompt.after)).detach()
            tokens = encoded[0].asked(words).with_needed(question.needed)
            kept = pruner.select(tokens, keep)
            alone.append(Context(prompt.before, encoded.projected[0][kept], kept, len(tokens), (prompt.after,)))
        if packed:
            contexts.append(replace(alone[0], after=tuple(context.after[0] for context in alone)))
        else:
            contexts += alone
    return contexts


def generated(
    vlm: Vlm, task: AbstractTask, pruner: AbstractPruner, keep: int, policy: str, steps: int = STEPS
) -> Iterator[list[int]]:
    """What the stock model generates for each question alone inside `prune`."""
    for sample in task:
        for question in sample.questions:
            inputs = vlm.prepare(sample.image, question.question)
            with torch.no_grad(), prune(vlm, pruner, keep, position_ids=policy, needed=[question.needed]):
                ids = vlm.model.generate(**inputs, max_new_tokens=steps, do_sample=False)
            yield ids[0, inputs["input_ids"].shape[1] :].tolist()


def flat(answers: list[list[list[int]]]) -> list[list[int]]:
    return [tokens for found in answers for tokens in found]


@pytest.mark.parametrize("policy", ["keep", "compact"])
@pytest.mark.parametrize("pruner", [*UNAWARE, *AWARE], ids=lambda pruner: pruner.name)
@pytest.mark.parametrize("which", ["tiny_vlm", "tiny_gqa_vlm"])
def test_answers_are_those_of_generate(
    request: pytest.FixtureRequest, which: str, toy_task: Callable[..., Any], pruner: AbstractPruner, policy: str
) -> None:
    vlm: Vlm = request.getfixturevalue(which)
    expected = list(generated(vlm, toy_task(3), pruner, 5, policy))
    assert len({tuple(tokens) for tokens in expected}) > 2  # the model tells the questions apart
    contexts = contexts_of(vlm, toy_task(3), pruner, 5, packed=pruner in UNAWARE)
    assert flat(answer_tokens(vlm, contexts, position_ids=policy, max_new_tokens=STEPS)) == expected


def test_all_tokens_are_the_stock_model(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = contexts_of(tiny_vlm, toy_task(3), pruners.FasterVLM(), 36, packed=True)
    questions = [(sample.image, question.question) for sample in toy_task(3) for question in sample.questions]
    stock = tiny_vlm.answer([image for image, _ in questions], [words for _, words in questions], STEPS)
    for policy in ("keep", "compact"):
        texts = answer_texts(tiny_vlm, contexts, position_ids=policy, max_new_tokens=STEPS)
        assert [text for found in texts for text in found] == stock


def test_the_position_policy_matters(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = contexts_of(tiny_vlm, toy_task(5), pruners.FasterVLM(), 5, packed=True)
    kept, compact = (answer_tokens(tiny_vlm, contexts, position_ids=policy) for policy in ("keep", "compact"))
    assert kept != compact


def test_eager_attention_answers_the_same(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = contexts_of(tiny_vlm, toy_task(3), pruners.FasterVLM(), 5, packed=True)
    expected = answer_tokens(tiny_vlm, contexts, max_new_tokens=STEPS)
    eager = copy.deepcopy(tiny_vlm.model)
    eager.set_attn_implementation("eager")
    assert answer_tokens(replace(tiny_vlm, model=eager), contexts, max_new_tokens=STEPS) == expected


@pytest.fixture
def ending_vlm(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> Vlm:
    """The tiny model, which now stops at a token that some of its answers contain early, some late, some never."""
    contexts = contexts_of(tiny_vlm, toy_task(8), pruners.FasterVLM(), 5, packed=True)
    answers = flat(answer_tokens(tiny_vlm, contexts, max_new_tokens=STEPS))
    seen = {token for tokens in answers for token in tokens}
    first_seen = {token: {(*tokens, token).index(token) for tokens in answers} for token in seen}
    end = max(first_seen, key=lambda token: (len(first_seen[token]), token))
    assert len(first_seen[end]) > 2
    model = copy.deepcopy(tiny_vlm.model)
    model.generation_config.eos_token_id = [end, 2]
    return replace(tiny_vlm, model=model)


@pytest.mark.parametrize("packed", [True, False])
def test_answers_stop_at_an_end_token(ending_vlm: Vlm, toy_task: Callable[..., Any], packed: bool) -> None:
    pruner = pruners.FasterVLM()
    expected = list(generated(ending_vlm, toy_task(8), pruner, 5, "keep"))
    assert len({len(tokens) for tokens in expected}) > 2
    contexts = contexts_of(ending_vlm, toy_task(8), pruner, 5, packed=packed)
    assert flat(answer_tokens(ending_vlm, contexts, max_new_tokens=STEPS)) == expected


@pytest.mark.parametrize("tokens_per_batch", [1, 60, 200, 10_000])
def test_batching_does_not_change_answers(ending_vlm: Vlm, toy_task: Callable[..., Any], tokens_per_batch: int) -> None:
    """Contexts of different length and number of questions, in every company."""
    contexts = [
        context
        for keep in (3, 30, 11)
        for context in contexts_of(ending_vlm, toy_task(4), pruners.FasterVLM(), keep, packed=True)
    ]
    alone = [answer_tokens(ending_vlm, [context], max_new_tokens=STEPS)[0] for context in contexts]
    together = answer_tokens(ending_vlm, contexts, max_new_tokens=STEPS, tokens_per_batch=tokens_per_batch)
    assert together == alone


def test_batches_hold_every_context_once_and_respect_the_bound() -> None:
    lengths = [5, 90, 12, 7, 40, 41, 3, 12]
    batches = _batches(lengths, 80)
    assert sorted(index for batch in batches for index in batch) == list(range(8))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= 80
    assert [1] in batches


def test_prompts_are_those_of_the_processor(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    sample = list(toy_task(3))[2]
    questions = [question.question for question in sample.questions]
    for template in (tiny_vlm.processor.chat_template, QUESTION_FIRST):
        vlm = replace(tiny_vlm, processor=copy.copy(tiny_vlm.processor))
        vlm.processor.chat_template = template
        image = vlm.adapter.image_token_id(vlm.model)
        for question, prompt in zip(questions, tokenise(vlm, questions), strict=True):
            ids = vlm.prepare(sample.image, question)["input_ids"][0].tolist()
            assert [*prompt.before, *[image] * 36, *prompt.after] == ids
            assert prompt.n_text == len(ids) - 36


def test_prompts_without_one_image_are_refused(tiny_vlm: Vlm) -> None:
    vlm = replace(tiny_vlm, processor=copy.copy(tiny_vlm.processor))
    for template, found in (("USER: is ASSISTANT:", 0), ("<image> <image> ASSISTANT:", 2), ("USER: <image>", 1)):
        vlm.processor.chat_template = template
        with pytest.raises(ValueError, match=f"one image with text behind it, got {found} placeholders for 'is'"):
            tokenise(vlm, ["is"])
    assert tokenise(tiny_vlm, []) == []


def test_wrong_arguments_are_refused(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = contexts_of(tiny_vlm, toy_task(1), pruners.FasterVLM(), 5, packed=True)
    with pytest.raises(KeyError, match="did you mean 'compact'"):
        answer_tokens(tiny_vlm, contexts, position_ids="compacted")
    with pytest.raises(ValueError, match="`max_new_tokens` must be at least 1, got 0"):
        answer_tokens(tiny_vlm, contexts, max_new_tokens=0)
    with pytest.raises(ValueError, match="`tokens_per_batch` must be at least 1, got 0"):
        answer_tokens(tiny_vlm, contexts, tokens_per_batch=0)
    with pytest.raises(ValueError, match="`kept` must name each of the 5 visual tokens, got 4"):
        replace(contexts[0], kept=np.arange(4))
    with pytest.raises(ValueError, match="every question needs at least one token behind the image"):
        replace(contexts[0], after=((5,), ()))
    assert answer_texts(tiny_vlm, []) == []


def test_models_that_would_not_answer_greedily_are_refused(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = contexts_of(tiny_vlm, toy_task(1), pruners.FasterVLM(), 5, packed=True)
    model = copy.deepcopy(tiny_vlm.model)
    model.generation_config.repetition_penalty = 1.3
    with pytest.raises(ValueError, match="generation_config sets repetition_penalty"):
        answer_tokens(replace(tiny_vlm, model=model), contexts)
    model.generation_config.repetition_penalty = None
    model.config.get_text_config().sliding_window = 30
    with pytest.raises(ValueError, match="columns exceed the model's sliding window of 30"):
        answer_tokens(replace(tiny_vlm, model=model), contexts)
    model.config.get_text_config()._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="needs sdpa or eager attention, the model runs 'flash_attention_2'"):
        answer_tokens(replace(tiny_vlm, model=model), contexts)


def test_suppressed_tokens_are_never_said(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = contexts_of(tiny_vlm, toy_task(3), pruners.FasterVLM(), 5, packed=True)
    model = copy.deepcopy(tiny_vlm.model)
    said = answer_tokens(tiny_vlm, contexts, max_new_tokens=STEPS)[0][0][0]
    model.generation_config.suppress_tokens = [*(model.generation_config.suppress_tokens or ()), said]
    vlm = replace(tiny_vlm, model=model)
    found = flat(answer_tokens(vlm, contexts, max_new_tokens=STEPS))
    assert all(said not in tokens for tokens in found)
    assert found == list(generated(vlm, toy_task(3), pruners.FasterVLM(), 5, "keep"))


def test_a_question_knows_its_tokens_even_if_none_are_needed() -> None:
    question = Question(0, "is there a red square ?", "no", "exist")
    assert question.needed.dtype == np.int64
    assert question.needed.size == 0


def test_questions_share_columns_as_long_as_their_words_agree(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    """Branches at the first word, later, at the end (one question is the beginning of another), and nowhere."""
    context = contexts_of(tiny_vlm, toy_task(3), pruners.FasterVLM(), 30, packed=True)[2]
    first, second, third, fourth = context.after
    after = (first, second, fourth, first[:4], third, first, (*first, 20), (*first[:-1], 20, 6))
    tree = replace(context, after=after)
    assert first[:3] == fourth[:3] != second[:3]
    assert tree.length == context.shared + len(first) + len(second) + len(fourth) - 3 + len(third) + 1 + 2
    for policy in ("keep", "compact"):
        options: dict[str, Any] = {"position_ids": policy, "max_new_tokens": STEPS}
        (together,) = answer_tokens(tiny_vlm, [tree], **options)
        alone = [answer_tokens(tiny_vlm, [replace(context, after=(words,))], **options)[0][0] for words in after]
        assert together == alone
        assert len({tuple(tokens) for tokens in together}) > 1


def test_prompts_come_in_few_widths_within_the_bound(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    contexts = [
        context
        for keep in (3, 30, 11, 36)
        for context in contexts_of(tiny_vlm, toy_task(4), pruners.FasterVLM(), keep, packed=True)
    ]
    assert len({context.length for context in contexts}) > len({context.padded for context in contexts})
    shapes: list[torch.Size] = []
    language = tiny_vlm.adapter.language_model(tiny_vlm.model)
    handle = language.register_forward_pre_hook(
        lambda _, __, given: shapes.append(given["inputs_embeds"].shape), with_kwargs=True
    )
    answer_tokens(tiny_vlm, contexts, max_new_tokens=1, tokens_per_batch=120)
    handle.remove()
    assert sum(rows for rows, _, _ in shapes) == len(contexts)
    for rows, columns, _ in shapes:
        assert columns % 8 == 0
        assert rows == 1 or rows * columns <= 120
