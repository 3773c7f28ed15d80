"""The model class on a stand-in of lmms-eval's base class: answers, their order, what is reported, refusals."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from analysis.evaluation.lmms import MODEL, manifests
from analysis.models import Vlm
from analysis.pruning import prune

ROOT = Path(__file__).parents[4]
WORDS = (
    "what color is the circle ?",
    "is there a red square ?",
    "how many star is there on the green sign ?",
    "is there a blue circle ?",
    "what number is on the red sign ?",
)
LENGTH = {"max_new_tokens": 3}


def user(pictures: list[Image.Image], words: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "url": picture} for picture in pictures] + [{"type": "text", "text": words}]
    return [{"role": "user", "content": content}]


@pytest.fixture
def documents(tiny_image: Callable[[int], Image.Image]) -> list[Any]:
    return [user([tiny_image(seed)], words) for seed, words in enumerate(WORDS)]


def test_only_the_model_class_imports_lmms_eval() -> None:
    """Its module is the one that lmms-eval imports by name."""
    importing = set()
    for path in (ROOT / "analysis").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # what stands in functions runs later
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "lmms_eval" or name.endswith("lmms.model") for name in names):
                importing.add(path.relative_to(ROOT).as_posix())
    assert importing == {"analysis/evaluation/lmms/model.py"}


@pytest.mark.usefixtures("stand_in")
def test_the_entry_point_leads_to_the_class() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    assert groups == {MODEL: "analysis.evaluation.lmms:manifests"}
    (manifest,) = manifests()
    assert (manifest.model_id, manifest.simple_class_path) == (MODEL, None)
    module, name = manifest.chat_class_path.rsplit(".", 1)
    assert (module, name) == ("analysis.evaluation.lmms.model", "PruneScope")


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_stock_answers_are_those_of_the_model(
    make_plugin: Callable[..., Any], tiny_vlm: Vlm, documents: list[Any], batch_size: int
) -> None:
    plugin = make_plugin(batch_size=batch_size)
    results = plugin.model.generate_until(plugin.requests(documents, LENGTH, lambda document: document))
    pictures = [document[0]["content"][0]["url"] for document in documents]
    assert [result.text for result in results] == tiny_vlm.answer(pictures, WORDS, 3)
    assert plugin.reported[0]["additional_metrics"]["visual_tokens"] == 36


def test_pruned_answers_are_those_of_the_pruned_model(
    make_plugin: Callable[..., Any], tiny_vlm: Vlm, documents: list[Any]
) -> None:
    plugin = make_plugin(batch_size=2, pruner="vispruner", keep=5, important_ratio=0.25, position_ids="keep")
    results = plugin.model.generate_until(plugin.requests(documents, LENGTH, lambda document: document))
    expected = []
    for document, words in zip(documents, WORDS, strict=True):
        with prune(tiny_vlm, plugin.model.arguments.pruner, 5, position_ids="keep"):
            expected.append(tiny_vlm.answer(document[0]["content"][0]["url"], words, 3))
    assert [result.text for result in results] == expected
    text = [len(tiny_vlm.prompt(words).split()) + 1 for words in WORDS]  # and the token that starts every prompt
    assert [result.token_counts.input_tokens for result in results] == [count - 1 + 5 for count in text]
    assert [result.token_counts.output_tokens for result in results] == [3] * 5
    said = plugin.reported[0]["additional_metrics"]
    assert (said["visual_tokens"], said["num_requests"]) == (5, 5)
    assert said["pruner"] == "VisPruner(important_ratio=0.25)"


def test_tokens_of_a_pruner_inside_are_means_over_layers(make_plugin: Callable[..., Any], documents: list[Any]) -> None:
    plugin = make_plugin(batch_size=2, pruner="fastv", keep=6, layer=2)
    plugin.model.generate_until(plugin.requests(documents[:2], LENGTH, lambda document: document))
    assert plugin.reported[0]["additional_metrics"]["visual_tokens"] == pytest.approx((36 + 36 + 6) / 3)


def test_beams_and_several_pictures(
    make_plugin: Callable[..., Any], tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]
) -> None:
    documents = [user([tiny_image(0), tiny_image(1)], WORDS[0]), user([tiny_image(2)], WORDS[1])]
    plugin = make_plugin(batch_size=2, pruner="uniform_grid", keep=4)
    results = plugin.model.generate_until(plugin.requests(documents, {**LENGTH, "num_beams": 2}, lambda d: d))
    counts = [len(tiny_vlm.prompt(words).split()) for words in WORDS[:2]]
    assert [result.token_counts.input_tokens for result in results] == [counts[0] + 8, counts[1] + 4]


def test_prompts_without_pictures_are_answered_in_their_places(
    make_plugin: Callable[..., Any], tiny_vlm: Vlm, documents: list[Any]
) -> None:
    mixed = [documents[0], user([], WORDS[1]), documents[2], user([], WORDS[3])]
    plugin = make_plugin(batch_size=4, pruner="vispruner", keep=5)
    results = plugin.model.generate_until(plugin.requests(mixed, LENGTH, lambda document: document))
    counts = [len(tiny_vlm.prompt(words).split()) for words in WORDS[:4]]
    inputs = [result.token_counts.input_tokens for result in results]
    assert inputs == [counts[0] + 5, counts[1], counts[2] + 5, counts[3]]
    alone = plugin.model.generate_until(plugin.requests([documents[2]], LENGTH, lambda document: document))
    assert results[2].text == alone[0].text


def test_requests_of_other_settings_are_not_mixed(make_plugin: Callable[..., Any], documents: list[Any]) -> None:
    plugin = make_plugin(batch_size=8)
    requests = plugin.requests(documents, LENGTH, lambda document: document)
    for number in (1, 3):
        requests[number].args[2]["max_new_tokens"] = 1
    results = plugin.model.generate_until(requests)
    assert [result.token_counts.output_tokens for result in results] == [3, 1, 3, 1, 3]


def test_errors_are_raised_with_their_place(
    make_plugin: Callable[..., Any], documents: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_plugin(pruner="vispruner", keep=5, important_ratio=7)
    with pytest.raises(ValueError, match="important_ratio") as caught:
        broken.model.generate_until(broken.requests(documents, LENGTH, lambda document: document))
    assert caught.value.__notes__ == ["while answering document 0 of 'toy'"]
    plugin = make_plugin(batch_size=2)
    with pytest.raises(ValueError, match="texts and images only, got 'audio'") as caught:
        plugin.model.generate_until(
            plugin.requests([*documents, [{"role": "user", "content": [{"type": "audio"}]}]], LENGTH, lambda d: d)
        )
    assert caught.value.__notes__ == ["while reading document 5 of 'toy'"]
    assert not plugin.reported


def test_wrong_budgets_are_refused_before_the_data_are_read(make_plugin: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"`keep` must be in \[1, 36\], got 37"):
        make_plugin(pruner="vispruner", keep=37)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("loglikelihood", "the likelihood of given answers"),
        ("generate_until_multi_round", "several rounds"),
        ("generate_visual_cot", "pictures drawn on the way"),
    ],
)
def test_other_kinds_of_requests_are_refused(
    make_plugin: Callable[..., Any], documents: list[Any], method: str, what: str
) -> None:
    plugin = make_plugin()
    with pytest.raises(ValueError, match=f"output type generate_until only, but toy asks for {what}"):
        getattr(plugin.model, method)(plugin.requests(documents, LENGTH, lambda document: document))
