"""What holds for every family of models: `prune` against the stock model, the language model run by hand, and itself.

Prompts are about images of seeded noise; batches are padded on the left and hold two, no and one image. Every claim is
shown with fused attention, the first three also with eager attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from analysis.models import adapter_for
from analysis.pruning import PRUNERS, AbstractPruner, VisualTokens, prune
from analysis.pruning.encode import Encoded, watch
from analysis.pruning.pruners import Random, UniformGrid

from .families import FAMILIES, IMAGE, PROMPTS, Arguments, Family
from .hand_run import by_hand, masked_instead
from .left_alone import family_left_as_it_was

GREEDY: Arguments = {"max_new_tokens": 4, "do_sample": False}
LOGITS: Arguments = GREEDY | {"output_logits": True, "return_dict_in_generate": True}
CLOSE: dict[str, float] = {"atol": 1e-4, "rtol": 1e-4}
BATCH = (0, 1, 2)
KEEP = 3
ROUNDED = {"fopru_rows", "pooling"}
"""Pruners that keep whole rows, or a whole grid."""
ALL = 0.9999
"""A share that rounds to every token of an image of any size."""

pytestmark = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
every_attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])
every_policy = pytest.mark.parametrize("policy", ["keep", "compact"])


class Drawn(AbstractPruner):
    """Tokens drawn by the content of the features: another picture, or another tile, keeps others."""

    name: ClassVar[str] = "drawn"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    cite: ClassVar[str] = "test"

    def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
        return np.sort(np.argsort(np.cos(1e3 * tokens.features[:, 0]), kind="stable")[:keep])


# helpers ------------------------------------------------------------


def vision_arguments(family: Family, *prompts: int) -> Arguments:
    return family.images([PROMPTS[number] for number in prompts])


def encoded_images(model: PreTrainedModel, needs: set[str], images: Arguments) -> Encoded:
    caught: list[Encoded] = []
    base: Any = model.base_model
    with torch.no_grad(), watch(model, adapter_for(model), needs, caught.append):
        base.get_image_features(**images, return_dict=True)
    return caught[0]


def skip_without(model: PreTrainedModel, policy: str) -> None:
    if policy == "compact" and adapter_for(model).position_axes > 1:
        pytest.skip("tokens have ids of time, row and column")


@pytest.fixture(autouse=True)
def models_are_left_as_they_were(family: Family) -> Iterator[None]:
    """After every test here, also one with an exception inside `prune`."""
    with family_left_as_it_was(family):
        yield


# keeping everything, and three tokens ------------------------------------------------------------


@torch.no_grad()
@every_attention
@pytest.mark.parametrize("prompts", [(2,), BATCH], ids=["one", "batch"])
def test_keeping_all_is_the_stock_computation_to_the_bit(
    family: Family, attention: str, prompts: tuple[int, ...]
) -> None:
    model, batch = family.model(attention), family.batch(*prompts)
    logits, stock = model(**batch).logits, model.generate(**batch, **LOGITS)
    with prune(model, Drawn(), ALL) as log:
        assert torch.equal(model(**batch).logits, logits)
        pruned = model.generate(**batch, **LOGITS)
        assert [len(kept) for kept in log.kept] == (batch["input_ids"] == IMAGE).sum(1).tolist()
    assert torch.equal(pruned.sequences, stock.sequences)
    assert all(torch.equal(a, b) for a, b in zip(pruned.logits, stock.logits, strict=True))


@torch.no_grad()
@every_attention
@every_policy
def test_pruning_equals_the_language_model_run_by_hand(family: Family, attention: str, policy: str) -> None:
    model, batch = family.model(attention), family.batch(2)
    skip_without(model, policy)
    with prune(model, Drawn(), KEEP, position_ids=policy) as log:
        logits = model(**batch).logits[0]
        # Without a cache, gaps in the ids would be read as packed sequences if no mask came with them.
        assert torch.equal(model(**batch, use_cache=False).logits[0], logits)
    assert len(log.kept[0]) == KEEP
    assert len(logits) == batch["input_ids"].shape[1] - family.tokens(2) + KEEP
    assert torch.equal(logits, by_hand(model, batch, log.kept[0], policy))


@torch.no_grad()
@every_attention
@every_policy
def test_cached_decoding_equals_no_cache(family: Family, attention: str, policy: str) -> None:
    model, batch = family.model(attention), family.batch(2)
    skip_without(model, policy)
    with prune(model, Drawn(), KEEP, position_ids=policy) as log:
        out = model.generate(**batch, **LOGITS)
    new = out.sequences[0, batch["input_ids"].shape[1] :].tolist()
    for step, logits in enumerate(out.logits):
        expected = by_hand(model, family.batch(2, words=new[:step]), log.kept[0], policy)[-1]
        torch.testing.assert_close(logits[0], expected, **CLOSE)


@torch.no_grad()
def test_pruning_equals_hiding_the_other_tokens(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    with prune(model, Drawn(), KEEP, position_ids="keep") as log:
        logits = model(**batch).logits[0]
    torch.testing.assert_close(logits, masked_instead(model, batch, log.kept[0]), **CLOSE)


# batches and ways to decode ------------------------------------------------------------


@every_policy
def test_ragged_batch_equals_its_prompts_alone(family: Family, policy: str) -> None:
    model = family.model()
    skip_without(model, policy)
    batch = family.batch(*BATCH)
    with prune(model, Drawn(), KEEP, position_ids=policy):
        together = model.generate(**batch, **LOGITS)
        for row, prompt in enumerate(BATCH):
            alone = model.generate(**family.batch(prompt), **LOGITS)
            for a, b in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(a[row], b[0], **CLOSE)
            assert together.sequences[row, -4:].tolist() == alone.sequences[0, -4:].tolist()


@torch.no_grad()
def test_every_layer_holds_what_is_left(family: Family) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    with prune(model, Drawn(), KEEP) as log:
        cache = model(**batch, use_cache=True).past_key_values
    images = [len(PROMPTS[prompt]) for prompt in BATCH]
    words = [len(family.prompt(prompt)) - family.prompt(prompt).count(IMAGE) for prompt in BATCH]
    longest = max(word + KEEP * image for word, image in zip(words, images, strict=True))
    assert [layer.keys.shape[2] for layer in cache.layers] == [longest] * 4
    assert log.visual_tokens.tolist() == [[KEEP * image] * 4 for image in images]


def test_beams_of_a_batch_equal_beams_of_its_prompts(family: Family) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    with prune(model, Drawn(), KEEP):
        together = model.generate(**batch, **GREEDY, num_beams=3)
        for row, prompt in enumerate(BATCH):
            alone = model.generate(**family.batch(prompt), **GREEDY, num_beams=3)
            assert together[row, -4:].tolist() == alone[0, -4:].tolist()


def test_several_samples_per_prompt(family: Family) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    with prune(model, Drawn(), KEEP):
        greedy = model.generate(**batch, **GREEDY)
        cold = {"do_sample": True, "temperature": 1e-4, "num_return_sequences": 2, "max_new_tokens": 4}
        samples = model.generate(**batch, **cold)
    assert torch.equal(samples, greedy.repeat_interleave(2, 0))


def test_no_cache_and_prompt_lookup_decode_the_same(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    with prune(model, Drawn(), KEEP):
        plain = model.generate(**batch, **GREEDY)
        assert torch.equal(model.generate(**batch, **GREEDY, prompt_lookup_num_tokens=3), plain)
        if family.cacheless:
            assert torch.equal(model.generate(**batch, **GREEDY, use_cache=False), plain)


@torch.no_grad()
def test_text_only_prompts_pass_through(family: Family) -> None:
    model, batch = family.model(), family.batch(1)
    logits, generated = model(**batch).logits, model.generate(**batch, **GREEDY)
    with prune(model, Drawn(), KEEP):
        assert torch.equal(model(**batch).logits, logits)
        assert torch.equal(model.generate(**batch, **GREEDY), generated)


@torch.no_grad()
def test_base_model_is_pruned_too(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    with prune(model, Drawn(), KEEP):
        logits = model(**batch).logits
    with prune(model.base_model, Drawn(), KEEP):
        states = model.base_model(**batch).last_hidden_state
    assert torch.equal(model.get_output_embeddings()(states), logits)


# what pruners see ------------------------------------------------------------


def test_features_and_projected_tokens_belong_together(family: Family) -> None:
    model, adapter = family.model(), adapter_for(family.model())
    encoded = encoded_images(model, {"features"}, vision_arguments(family, *BATCH))
    assert [layout.tokens for layout in encoded.layouts] == [family.tokens(number) for number in range(3)]
    assert len(encoded) == sum(len(layout.tiles) for layout in encoded.layouts)
    assert len({tokens.key for tokens in encoded}) == len(encoded)
    for tokens, features in zip(encoded, encoded.features, strict=True):
        np.testing.assert_array_equal(tokens.features, features.numpy())
        if adapter.projects_tokens:
            with torch.no_grad():
                projected = adapter.project(model, features[None])[0]
            np.testing.assert_allclose(tokens.projected, projected.numpy(), atol=1e-4, rtol=1e-4)


def test_evidence_is_the_same_under_fused_and_eager_attention(family: Family) -> None:
    names = {"features", "cls", "attention_map", "keys", "first_cls", "last_cls", "last_keys"}
    images = vision_arguments(family, *BATCH)
    fused, eager = (encoded_images(family.model(attention), names, images) for attention in ("sdpa", "eager"))
    for a, b in zip(fused, eager, strict=True):
        for name in names:
            size = np.abs(getattr(b, name)).max()
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-4 * max(1, size))
        for shares in (a.cls, a.first_cls, a.last_cls):
            assert shares.min() >= 0
            assert 0 < shares.sum() <= 1 + 1e-5
        assert a.attention_map.sum(1).max() <= 1 + 1e-5


@torch.no_grad()
@pytest.mark.parametrize("entry", PRUNERS, ids=lambda entry: entry.name)
def test_every_pruner_runs(family: Family, entry: AbstractPruner) -> None:
    model, batch = family.model(), family.batch(2)
    refuses = ({} if adapter_for(model).fixed_grid else {"tome": "needs pictures of one size"}) | family.refuses
    if entry.name in refuses:
        refused = pytest.raises(ValueError, match=refuses[entry.name])
        with refused, prune(model, entry, KEEP, needed=[[0]]):
            model(**batch)
        return
    with prune(model, entry, KEEP, needed=[[0]]) as log:
        logits = model(**batch).logits
    reached = log.visual_tokens[0]
    assert logits.isfinite().all()
    assert logits.shape[1] == batch["input_ids"].shape[1] - family.tokens(2) + reached[-1]
    assert (np.diff(reached) <= 0).all()
    assert reached[-1] == KEEP or entry.name in ROUNDED


# leaving the model as it was ------------------------------------------------------------


def test_stock_model_computes_as_before_afterwards(family: Family) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    expected = model.generate(**batch, **LOGITS)
    with prune(model, Drawn(), KEEP):
        assert not torch.equal(model.generate(**batch, **LOGITS).logits[0], expected.logits[0])
    again = model.generate(**batch, **LOGITS)
    assert torch.equal(again.sequences, expected.sequences)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, expected.logits, strict=True))


def test_pruners_follow_each_other_but_do_not_nest(family: Family) -> None:
    model, batch = family.model(), family.batch(2)

    def run(entry: AbstractPruner) -> Tensor:
        with torch.no_grad(), prune(model, entry, KEEP):
            return model(**batch).logits

    first, second = run(Drawn()), run(UniformGrid())
    assert not torch.equal(first, second)
    with prune(model, Random(), KEEP), pytest.raises(RuntimeError, match="must not be nested"):
        run(Drawn())
    assert torch.equal(run(Drawn()), first)


class Returning(Drawn):
    """What the test says."""

    answer: ClassVar[Any] = None

    def _select(self, tokens: VisualTokens, keep: int) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return np.asarray(self.answer)


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (ZeroDivisionError("inside the pruner"), ZeroDivisionError, "inside the pruner"),
        ([0, 1, 1], RuntimeError, "must return ascending tokens below"),
        ([2, 1, 0], RuntimeError, "must return ascending tokens below"),
        ([0, 1, 9999], RuntimeError, "must return ascending tokens below"),
        ([-1, 0, 1], RuntimeError, "must return ascending tokens below"),
        ([0.0, 1.0, 2.0], RuntimeError, "must return indices"),
        ([[0, 1, 2]], RuntimeError, "must return indices"),
    ],
    ids=["raises", "repeated", "unsorted", "too high", "negative", "floats", "nested"],
)
def test_broken_pruners(
    family: Family, answer: Any, error: type[Exception], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Returning, "answer", answer)
    model = family.model()
    with pytest.raises(error, match=match), prune(model, Returning(), KEEP):
        model.generate(**family.batch(*BATCH), **GREEDY)
