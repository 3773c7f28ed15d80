"""Which option of a multiple-choice question a reply names, as each scorer reads it. "" stands for none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LETTERS = "ABCDE"
DIRECTLY = "Answer with the option's letter from the given choices directly."
"""What LLaVA-1.5 and lmms-eval write below the options."""

_FRAMES = (
    *(("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ")."), (":", ""), (":", ",")),
    *((":", "."), (":", ")"), (":", ").")),
)
_PHRASES = (
    *("the answer is", "answer is", "the correct answer is", "correct answer is", "the best answer is"),
    *("best answer is", "the correct option is", "correct option is", "the best option is", "best option is"),
    *("the choice is", "choice is", "the correct choice is", "correct choice is", "i choose", "i select", "i pick"),
    *("my answer is", "my choice is", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)
_EDGES = ",.!?;:'\""


def scienceqa_llava(reply: str, options: int) -> str:
    """LLaVA's reading for ScienceQA: the bare letter, "X. " in front, or one "The answer is X" and a character more.

    llava/eval/eval_science_qa.py, haotian-liu/LLaVA@c121f043. "B." alone names nothing: a space must follow the full
    stop. Letters end at E and at the number of `options`.

    Examples
    --------
    >>> [scienceqa_llava(reply, 3) for reply in ("B", "B. Ohio", "The answer is B.", "B.", "b", "D")]
    ['B', 'B', 'B', '', '', '']
    """
    if reply in tuple(LETTERS):
        letter = reply
    elif reply[:1] in tuple(LETTERS) and reply[1:3] == ". ":
        letter = reply[0]
    else:
        found = re.findall(r"The answer is ([A-Z]).", reply)
        letter = found[0] if len(found) == 1 else ""
    return letter if letter in tuple(LETTERS[:options]) else ""


def scienceqa_lmms(reply: str) -> str:
    """lmms-eval's reading for ScienceQA: the letter in either case, or a capital with a full stop behind it.

    lmms-eval 0.7.3, tasks/scienceqa/utils.py.

    Examples
    --------
    >>> [scienceqa_lmms(reply) for reply in ("b", "B.", "B. Ohio", "The answer is B.", "b.")]
    ['B', 'B', 'B', '', '']
    """
    text = reply.strip()
    if len(text) == 1:
        return text.upper()
    return text[0] if len(text) > 1 and text[0].isupper() and text[1] == "." else ""


def mmbench_heuristic(reply: str, options: Mapping[str, str]) -> str:
    """MMBench's reading before a judge is asked: one letter among the words, else one option's text in the reply.

    Of A to E exactly one must stand alone, or in the first frame of "A." "A," "A:" "A)" "A)." "(A)" ... that fits
    exactly one. A lone "A" among more than three words may be the article and does not count. Then the one option
    whose text is part of the reply, ignoring case (lmms-eval 0.7.3, tasks/mmbench/mmbench_evals.py, after the
    evaluation of open-compass).

    Examples
    --------
    >>> options = {"A": "cat", "B": "dog"}
    >>> [mmbench_heuristic(reply, options) for reply in ("B", "(A).", "a Dog", "A man with a hat", "A or B")]
    ['B', 'A', 'B', '', '']
    """
    words = reply.split()
    alone = [letter for letter in LETTERS if letter in words]
    if len(alone) == 1 and not (alone == ["A"] and len(words) > 3):
        return alone[0]
    for before, behind in _FRAMES:
        framed = [letter for letter in LETTERS if before + letter + behind in words]
        if len(framed) == 1:
            return framed[0]
    said = [letter for letter, text in options.items() if text.lower() in reply.lower()]
    return said[0] if len(said) == 1 else ""


def mmbench_static(reply: str, options: Mapping[str, str]) -> str:
    """`mmbench_heuristic`, and where it finds nothing the best of lmms-eval's looser signs.

    The task mmbench_en_dev_static of lmms-eval 0.7.3, which asks no judge (tasks/_task_utils/mcq_extract.py).

    Examples
    --------
    >>> mmbench_static("A or B", {"A": "cat", "B": "dog"})
    'A'
    """
    return mmbench_heuristic(reply, options) or _by_signs(reply, sorted(options))


def _by_signs(reply: str, letters: Sequence[str]) -> str:
    """The letter with the strongest sign; of equals the last in the reply, then the first that was looked for."""
    bare = reply.strip()
    for sign in _EDGES:
        bare = bare.strip(sign)
    text, inner = f" {bare} ", bare.strip()
    lower = text.lower()
    signs = [
        (strength, text.rfind(form.format(letter)), letter)
        for strength, form in ((6, "({})"), (5, "{}."), (4, "{}:"), (3, "{})"), (2, "{} "))
        for letter in letters
        if form.format(letter) in text
    ]
    starts = [lower.find(phrase) + len(phrase) for phrase in _PHRASES if phrase in lower]
    signs += [(7, at, letter) for start in starts for letter in letters if (at := text.find(letter, start)) >= 0]
    signs += [(10, 0, c) for c in letters if inner.startswith(c) and not inner[1:2].isalpha()]
    signs += [(9, len(text) - 1, c) for c in letters if inner.endswith(c) and not inner[-2:-1].isalpha()]
    signs = signs or [(0, text.rfind(letter), letter) for letter in letters if letter in text]
    return max(signs, key=lambda sign: sign[:2])[2] if signs else ""
