"""Generation settings and chats of a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from analysis.evaluation.lmms.requests import Generation, read_chat
from analysis.models import Vlm

QUESTION = "what color is the circle ?"


def test_without_settings_answers_are_greedy_and_long() -> None:
    assert Generation.read({"until": None, "do_sample": False}).options == {
        "max_new_tokens": 1024,
        "num_beams": 1,
        "do_sample": False,
    }


@pytest.mark.parametrize(
    ("given", "sampling"),
    [
        ({"temperature": 0, "do_sample": False, "top_p": 1.0}, {}),
        ({"temperature": 0.0, "do_sample": True}, {}),
        ({"temperature": 0.7, "do_sample": False}, {}),
        ({"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9}),
        ({"do_sample": True, "top_k": 5}, {"temperature": 1.0, "top_k": 5}),
    ],
)
def test_answers_are_drawn_only_at_a_temperature(given: dict[str, Any], sampling: dict[str, Any]) -> None:
    options = Generation.read({"max_new_tokens": 8, **given}).options
    assert options == {"max_new_tokens": 8, "num_beams": 1, "do_sample": bool(sampling), **sampling}


def test_an_answer_ends_before_the_first_stop_text() -> None:
    cut = Generation.read({"until": ["\n\n", "###", "."]}).cut
    assert cut(" two ### three.") == "two"
    assert cut("a dog\n\na cat ###") == "a dog"
    assert cut(" no stop \n") == "no stop"
    assert cut("\n\nlate") == ""
    assert Generation.read({"until": "x"}).until == ("x",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_new_tokens": 0}, "`max_new_tokens` must be at least 1, got 0"),
        ({"num_beams": -1}, "`num_beams` must be at least 1, got -1"),
        ({"temperature": -0.5}, "`temperature` must be at least 0, got -0.5"),
        ({"until": ["a", ""]}, "`until` must hold texts that are not empty"),
        ({"until": [3]}, "`until` must hold texts that are not empty"),
        ({"repetition_penalty": 1.2, "num_return_sequences": 2}, "got repetition_penalty, num_return_sequences"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generation.read(given)


def test_settings_that_mean_nothing_here_are_told() -> None:
    with pytest.warns(UserWarning, match="generation settings image_aspect_ratio have no effect here"):
        read = Generation.read({"image_aspect_ratio": "pad", "max_new_tokens": 4})
    assert read == Generation(max_new_tokens=4)


def test_a_picture_and_a_question_are_the_prompt_of_the_evaluator(
    tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]
) -> None:
    grey = tiny_image(1).convert("L")
    content = [{"type": "image", "url": grey}, {"type": "text", "text": QUESTION}]
    chat = read_chat(tiny_vlm, [{"role": "user", "content": content}])
    assert chat.prompt == tiny_vlm.prompt(QUESTION)
    assert [picture.mode for picture in chat.pictures] == ["RGB"]


def test_pictures_keep_their_places(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image], tmp_path: Path) -> None:
    path = tmp_path / "second.png"
    tiny_image(2).save(path)
    content = [
        {"type": "text", "text": "is there"},
        {"type": "image", "url": tiny_image(1)},
        {"type": "text", "text": "on"},
        {"type": "image", "url": str(path)},
    ]
    chat = read_chat(tiny_vlm, [{"role": "user", "content": content}])
    assert chat.prompt.split() == ["USER:", "is", "there", "<image>", "on", "<image>", "ASSISTANT:"]
    assert [picture.tobytes() for picture in chat.pictures] == [tiny_image(1).tobytes(), tiny_image(2).tobytes()]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": [{"type": "video", "url": "x.mp4"}]}], "texts and images only, got 'video'"),
        ([{"role": "user", "content": [{"type": "text", "text": " "}]}], "must hold a text that is not empty"),
        ([], "must hold a text that is not empty"),
        ([{"role": "user", "content": [{"type": "image", "url": 3}]}], "a picture or the path of one, got int"),
        (
            [{"role": "system", "content": [{"type": "text", "text": "be brief"}]},
             {"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
            "the chat template of 'tiny' leaves out 'be brief'",
        ),
    ],
)  # fmt: skip
def test_chats_that_cannot_be_asked_are_refused(tiny_vlm: Vlm, messages: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_chat(tiny_vlm, messages)


def test_a_picture_that_is_not_there(tiny_vlm: Vlm, tmp_path: Path) -> None:
    content = [{"type": "image", "url": str(tmp_path / "no.png")}, {"type": "text", "text": QUESTION}]
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        read_chat(tiny_vlm, [{"role": "user", "content": content}])
