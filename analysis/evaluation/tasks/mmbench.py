"""MMBench: multiple choice, asked once for every rotation of the options and right only if all rotations are."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from solvers.names import nearest

from .benchmark import ALL, LLAVA, LMMS_EVAL, AbstractBenchmark
from .option_letter import DIRECTLY, LETTERS, mmbench_heuristic, mmbench_static
from .parquet_table import IMAGE, ParquetTable, shards
from .task import Question

ROTATION = 10**6
"""Rows whose index is equal modulo this are rotations of one question."""
_COLUMNS = ("index", "question", "A", "B", "answer", IMAGE)
_OPTIONAL = ("hint", "C", "D", "category")
_REFERENCE = 64
"""An image field of at most this many characters is the index of the row that has the picture."""
_REQUESTS = {
    (LLAVA, "en"): DIRECTLY,
    (LLAVA, "cn"): "请直接回答选项字母。",
    (LMMS_EVAL, "en"): f"\n{DIRECTLY}",
    (LMMS_EVAL, "cn"): "\n请直接使用所提供的选项字母作为答案回答。",
}


@dataclass(frozen=True)
class MmBench(AbstractBenchmark):
    """Multiple-choice questions on twenty abilities, in CircularEval (Liu et al., 2023, arXiv:2307.06281).

    Parameters
    ----------
    folder
        Where ``mmbench_<split>.tsv`` lies (capitals do not matter): index, question, hint, A to D, answer, category,
        image in base64. Or the parquet edition: ``<split>-*.parquet`` with the same columns, and pictures as they are.
    split
        For example "dev_20230712", which LLaVA links, "dev_en_20231003" or "dev_cn_20231003"; "dev" in the folders
        ``en`` and ``cn`` of the parquet edition, which does not say of which date it is. Test splits have no answers:
        only the server can score them.
    scorer
        How a letter is found in a reply. "llava": letter, then the text of an option, as the benchmark's evaluation
        does before it asks a judge; LLaVA itself only writes a table for the server. "lmms-eval": the same, then the
        looser signs of mmbench_en_dev_static. No judge is asked: a reply without a letter is wrong, and counted.
    prompt
        "llava" or "lmms-eval"; None is that of the scorer.
    language
        Of the request for a letter: "en" or "cn".

    Notes
    -----
    `summary` has `circular`, the official accuracy, beside `vanilla`, that of the unrotated questions, which is higher,
    and `unread`, the replies in which no letter was found. The column `correct` of a row is about that rotation alone.
    """

    folder: Path | str
    split: str = "dev_20230712"
    scorer: str = LLAVA
    prompt: str | None = None
    language: str = "en"
    name: ClassVar[str] = "mmbench"

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest(self.prompt or self.scorer, (LLAVA, LMMS_EVAL), "prompt")
        nearest(self.language, ("en", "cn"), "language")

    @property
    def split_name(self) -> str:
        """The split as given."""
        return self.split

    @property
    def prompt_name(self) -> str:
        """Whose prompt, and in which language it asks for a letter."""
        return f"{self._style} {self.language}"

    @property
    def _style(self) -> str:
        return self.prompt or self.scorer

    @property
    def _place(self) -> str:
        return str(self.file if self.table is None else self.folder)

    @cached_property
    def table(self) -> ParquetTable | None:
        """The parquet edition, if `folder` is such a file or holds shards of the split; else None."""
        files = shards(self.folder, self.split)
        return ParquetTable(files, _COLUMNS, _OPTIONAL) if files else None

    @cached_property
    def file(self) -> Path:
        """The table with tabs that is read, where there is no parquet edition."""
        wanted = f"mmbench_{self.split}.tsv".lower()
        tables = sorted(Path(self.folder).glob("*.tsv"))
        for table in tables:
            if table.name.lower() == wanted:
                return table
        others = sorted(Path(self.folder).glob("*.parquet"))
        there = ", ".join(table.name for table in (*tables, *others)) or "no table at all"
        raise FileNotFoundError(f"there is no {wanted} in {self.folder}, but {there}")

    @cached_property
    def _records(self) -> list[dict[str, str]]:
        """The rows as texts, "" where a field is absent, without their pictures."""
        if self.table is None:
            rows: list[dict[Any, Any]] = self._tabs.drop(columns=IMAGE).to_dict("records")
        else:
            rows = [record | {"index": str(record["index"])} for _, _, record in self.table.rows()]
        if not all(isinstance(row["index"], str) and row["index"].isdecimal() for row in rows):
            raise ValueError(f"column 'index' of {self._place} must hold integers")
        return [{str(key): _given(value) for key, value in row.items()} for row in rows]

    @cached_property
    def _tabs(self) -> pd.DataFrame:
        try:
            # pandas takes "None" and "NA" for absent, and so do the published scripts, which read with it
            table = pd.read_table(self.file, dtype=str, encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.file} must be UTF-8 text: {error}") from error
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise ValueError(f"{self.file} is not a table with tabs: {error}") from error
        missing = [name for name in _COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(f"{self.file} lacks the column(s) {', '.join(missing)}; it has {list(table.columns)}")
        return table

    @cached_property
    def _pictures(self) -> dict[str, str]:
        """What tells the picture of each row from the others, by index: its base64, or in parquet its digest."""
        indices = [record["index"] for record in self._records]
        if self.table is not None:
            return {index: digest or "" for index, digest in zip(indices, self.table.digests, strict=True)}
        given = {index: str(image) for index, image in zip(indices, self._tabs[IMAGE].fillna(""), strict=True)}
        return {index: given.get(image, image) if len(image) <= _REFERENCE else image for index, image in given.items()}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Rows by their index."""
        return {record["index"]: number for number, record in enumerate(self._records)}

    @cached_property
    def _rows_of(self) -> dict[int, int]:
        """How many rotations each question has, by its index modulo `ROTATION`."""
        return dict(Counter(int(record["index"]) % ROTATION for record in self._records))

    def _picture(self, name: str) -> bytes:
        if self.table is not None:
            return self.table.picture(self._numbers[name])
        try:
            return base64.b64decode(self._pictures[name], validate=True)
        except binascii.Error as error:
            raise ValueError(f"picture {name} of {self.file} is not in base64: {error}") from error

    def _questions(self) -> Iterator[tuple[str, Question]]:
        first: dict[str, str] = {}
        for record in self._records:
            index = record["index"]
            where = f"row {index} of {self._place}"
            options = _options(record)
            right = record["answer"]
            if len(options) < 2 or not record["question"].strip():
                raise ValueError(f"{where} must have a question and at least two options")
            if not right:
                raise ValueError(f"{where} has no answer: only MMBench's server can score a test split")
            if right not in tuple(LETTERS[: len(options)]):
                raise ValueError(f"{where} must have an answer out of {LETTERS[: len(options)]}, got {right!r}")
            picture = first.setdefault(self._pictures[index], index)
            words = _PROMPTS[self._style](record, options) + f"\n{_REQUESTS[self._style, self.language]}"
            yield picture, Question(int(index), words, right, record.get("category") or self.name, options=options)

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        read = mmbench_heuristic if self.scorer == LLAVA else mmbench_static
        parsed = read(prediction, dict(zip(LETTERS, question.options, strict=False)))
        return parsed, float(parsed == question.answer)

    def _figures(self, cell: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, float]]]:
        group = cell["question_id"].astype(int) % ROTATION
        for number, size in Counter(group).items():
            if size != self._rows_of[number]:
                raise ValueError(
                    f"`rows` must hold all {self._rows_of[number]} rotations of question {number}, got {size}"
                )
        for subset, part in ((ALL, cell), *cell.groupby("task", sort=False)):
            member = group.loc[part.index]
            yield (
                str(subset),
                part,
                {
                    "circular": 100 * float(part["score"].groupby(member).min().mean()),
                    "vanilla": 100 * float(part.loc[part["question_id"].astype(int) < ROTATION, "score"].mean()),
                    "unread": int((part["parsed"] == "").sum()),
                },
            )


def _given(value: object) -> str:
    """The text of a field; "" where LLaVA's script takes it for absent."""
    return value if isinstance(value, str) and value.lower() not in ("nan", "none") else ""


def _options(record: dict[str, str]) -> tuple[str, ...]:
    """The options up to the first that is absent."""
    texts = [record.get(letter, "") for letter in LETTERS]
    return tuple(texts[: texts.index("")] if "" in texts else texts)


def _llava_prompt(record: dict[str, str], options: tuple[str, ...]) -> str:
    """llava/eval/model_vqa_mmbench.py, haotian-liu/LLaVA@c121f043."""
    hint = record.get("hint", "")
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)]
    return "\n".join([*([hint] if hint else []), record["question"], *lines])


def _lmms_prompt(record: dict[str, str], options: tuple[str, ...]) -> str:
    """lmms-eval 0.7.3, tasks/mmbench/en_utils.py, whose request stands below an empty line."""
    hint = record.get("hint", "")
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
    return f"{f'{hint} ' if hint else ''}{record['question']} There are several options:\n{lines}"


_PROMPTS = {LLAVA: _llava_prompt, LMMS_EVAL: _lmms_prompt}
