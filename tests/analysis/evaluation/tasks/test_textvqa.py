"""TextVQA in its official file, with and without OCR tokens in the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import TextVqa

SHORT = "Answer the question using a single word or phrase."


def entries() -> list[dict[str, Any]]:
    return [
        {
            "question_id": 34602,
            "image_id": "0054c",
            "question": "what does the NY sign say?",
            "answers": ["stop"] * 3 + ["Go"] * 7,
            "ocr_tokens": ["STOP", "1"],
        },
        {"question_id": 34603, "image_id": "0054c", "question": "which year?", "answers": ["1999"] * 10},
    ]


@pytest.fixture
def textvqa_folder(write: Callable[[str, Any], Path], png: Callable[[int], bytes], tmp_path: Path) -> Path:
    write("TextVQA_0.5.1_val.json", {"data": entries()})
    write("train_images/0054c.jpg", png(3))
    write(
        "llava_textvqa_val_v051_ocr.jsonl",
        [
            {"question_id": "0054c", "image": "0054c.jpg", "text": f"{question}\nReference OCR token: {ocr}\n{SHORT}"}
            for question, ocr in (("Which year?", "1999"), ("What does the NY sign say?", "STOP"))
        ],
    )
    return tmp_path


@pytest.mark.parametrize(
    ("scorer", "ocr", "prompt"),
    [
        ("llava", True, f"What does the NY sign say?\nReference OCR token: STOP\n{SHORT}"),
        ("llava", False, f"what does the NY sign say?\n{SHORT}"),
        ("lmms-eval", False, f"What does the ny sign say?\n{SHORT}"),  # capitalize() makes the others small
    ],
)
def test_prompts(textvqa_folder: Path, scorer: str, ocr: bool, prompt: str) -> None:
    task = TextVqa(textvqa_folder, scorer=scorer, ocr=ocr)
    assert task.questions["0054c.jpg"][0].question == prompt
    assert task.prompt_name == f"{scorer} {'with' if ocr else 'without'} OCR tokens"
    assert task.prompt_name in task.label


def test_lmms_eval_takes_the_tokens_of_the_entry(textvqa_folder: Path, write: Callable[[str, Any], Path]) -> None:
    write("TextVQA_0.5.1_val.json", {"data": entries()[:1]})
    task = TextVqa(textvqa_folder, scorer="lmms-eval", ocr=True)
    expected = f"What does the ny sign say?\nReference OCR token: STOP, 1\n{SHORT}"
    assert task.questions["0054c.jpg"][0].question == expected


def test_ocr_must_be_said() -> None:
    with pytest.raises(TypeError, match="ocr"):
        TextVqa("folder")  # type: ignore[call-arg]


def test_scores_are_soft(textvqa_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = TextVqa(textvqa_folder, ocr=False)
    rows = rows_of(task, ["the STOP.", "2000"])
    assert "correct" not in rows.columns
    assert rows["score"].tolist() == [0.9, 0.0]
    assert rows["parsed"].tolist() == ["stop", "2000"]
    assert rows["answer"].tolist() == ["Go", "1999"]  # what most people said
    assert task.summary(rows)["accuracy"].tolist() == [45, 45]
    assert task.rescored(rows)["score"].tolist() == [0.9, 0.0]


def test_ten_answers_are_needed(textvqa_folder: Path, write: Callable[[str, Any], Path]) -> None:
    write("TextVQA_0.5.1_val.json", {"data": [entries()[0] | {"answers": ["a"] * 9}]})
    with pytest.raises(ValueError, match=r"entry 1 of .* must have exactly 10 under 'answers', got 9"):
        len(TextVqa(textvqa_folder, ocr=False))
    write("TextVQA_0.5.1_val.json", {"data": [entries()[0] | {"answers": [1] * 10}]})
    with pytest.raises(ValueError, match="must have a list of texts under 'answers'"):
        len(TextVqa(textvqa_folder, ocr=False))


def test_missing_ocr_tokens_are_named(textvqa_folder: Path, write: Callable[[str, Any], Path]) -> None:
    with pytest.raises(ValueError, match=r"entry 2 of .* lacks 'ocr_tokens'"):
        len(TextVqa(textvqa_folder, scorer="lmms-eval", ocr=True))
    write("TextVQA_0.5.1_val.json", {"data": [entries()[0] | {"question": "why?"}]})
    with pytest.raises(ValueError, match=r"llava_textvqa_val_v051_ocr\.jsonl has no prompt for entry 1 of .*, 'why\?'"):
        len(TextVqa(textvqa_folder, ocr=True))
    (textvqa_folder / "llava_textvqa_val_v051_ocr.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file of LLaVA's prompts .* \(or say ocr=False\)"):
        len(TextVqa(textvqa_folder, ocr=True))
