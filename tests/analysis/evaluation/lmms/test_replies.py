"""Replies of families whose processors and models treat pictures each in their own way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from analysis.evaluation.lmms.arguments import Arguments
from analysis.evaluation.lmms.replies import replies_to
from analysis.evaluation.lmms.requests import Chat, Generation, read_chat
from analysis.models import Vlm, wrap
from analysis.pruning import prune

from ...models.processors import PROCESSORS
from ...pruning import beside
from ...pruning.families import FAMILIES

MODELS = {family.name: family.model for family in FAMILIES} | {"mllama": beside.model}
WORDS = ("w5 w6", "w8", "w11 w12 w13")
GREEDY = Generation(max_new_tokens=3)
PRUNED = Arguments.read({"pretrained": "x", "pruner": "cdpruner", "keep": 3})

# The library's own processor of PaliGemma makes an array of a tensor.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
every_family = pytest.mark.parametrize("name", PROCESSORS)


def vlm_of(name: str) -> Vlm:
    return wrap(MODELS[name](), PROCESSORS[name]())


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (height, 90, 3), dtype=np.uint8)) for height in (60, 80, 70)]


def chat_of(vlm: Vlm, pictures: list[Image.Image], words: str) -> Chat:
    content = [{"type": "image", "url": picture} for picture in pictures] + [{"type": "text", "text": words}]
    return read_chat(vlm, [{"role": "user", "content": content}])


@every_family
@pytest.mark.parametrize("arguments", [Arguments("x"), PRUNED], ids=["stock", "pruned"])
def test_a_batch_is_answered_like_one_by_one(name: str, arguments: Arguments, pictures: list[Image.Image]) -> None:
    vlm = vlm_of(name)
    chats = [chat_of(vlm, [picture], words) for picture, words in zip(pictures, WORDS, strict=True)]
    together = replies_to(vlm, chats, GREEDY, arguments)
    with arguments.pruning(vlm):
        alone = [vlm.answer(picture, words, 3) for picture, words in zip(pictures, WORDS, strict=True)]
    assert [reply.text for reply in together] == alone
    assert together == [replies_to(vlm, [chat], GREEDY, arguments)[0] for chat in chats]


@every_family
def test_several_pictures_in_a_prompt_are_all_pruned(name: str, pictures: list[Image.Image]) -> None:
    vlm = vlm_of(name)
    chats = [chat_of(vlm, pictures[:2], WORDS[0]), chat_of(vlm, pictures[2:], WORDS[1])]
    replies = replies_to(vlm, chats, GREEDY, PRUNED)
    with prune(vlm, "cdpruner", 3) as log:
        vlm.answer(pictures[2], WORDS[1], 3)
    single = int(log.visual_tokens.max())
    stock = [replies_to(vlm, [chat], GREEDY, Arguments("x"))[0] for chat in chats]
    assert single % 3 == 0
    assert replies[1].visual_tokens == log.average[0]
    assert replies[0].visual_tokens >= replies[1].visual_tokens
    assert all(pruned.visual_tokens < whole.visual_tokens for pruned, whole in zip(replies, stock, strict=True))
    assert all(pruned.input_tokens < whole.input_tokens for pruned, whole in zip(replies, stock, strict=True))


@pytest.mark.parametrize("name", [name for name in PROCESSORS if name != "paligemma"])
def test_a_prompt_without_pictures(name: str) -> None:
    vlm = vlm_of(name)
    chats = [chat_of(vlm, [], words) for words in WORDS]
    replies = replies_to(vlm, chats, GREEDY, PRUNED)
    assert replies == replies_to(vlm, chats, GREEDY, Arguments("x"))
    assert all(reply.visual_tokens == 0 for reply in replies)


def test_a_family_that_needs_pictures_says_so() -> None:
    vlm = vlm_of("paligemma")
    with pytest.raises(ValueError, match="`images` are expected"):
        replies_to(vlm, [chat_of(vlm, [], WORDS[0])], GREEDY, PRUNED)
