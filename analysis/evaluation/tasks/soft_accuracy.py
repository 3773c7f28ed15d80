"""Accuracy against ten people's answers, and the cleaning of texts that goes before it."""

from __future__ import annotations

import re
from collections.abc import Sequence

ANSWERS = 10
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS)} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# A word is completed where exactly one of its apostrophes is missing. The one entry that takes an apostrophe away is in
# the published table too.
_CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word for word in _CONTRACTED.split() for at, sign in enumerate(word) if sign == "'"
} | {"somebody'd": "somebodyd"}
_FULL_STOPS = 32
"""The scripts hand `re.UNICODE`, which is 32, to the place of `count`: so many full stops are dropped, no more."""


def evalai(text: str) -> str:
    """The answer processing of EvalAI, given to both sides by TextVQA's scorers and to predictions by LLaVA's VQAv2.

    Lower case, commas and question marks away, " 's" apart, then as `vqa_cleaned` (llava/eval/m4c_evaluator.py,
    haotian-liu/LLaVA@c121f043; lmms-eval 0.7.3, tasks/_task_utils/vqa_eval_metric.py).

    Examples
    --------
    >>> evalai("The dog's, two balls?"), evalai("1,000"), evalai("dont")
    ("dog 's 2 balls", '1000', "don't")
    """
    apart = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return vqa_cleaned(apart.strip().replace("\n", " ").replace("\t", " ").strip())


def vqa_cleaned(text: str, comma: str = r"\d,+\d") -> str:
    """Punctuation, number words, articles and contractions as VQA's evaluation treats them.

    A sign next to a space vanishes, any other becomes a space; all of them vanish where a comma stands between digits
    (pattern `comma`). A full stop stays before a digit only.

    Examples
    --------
    >>> vqa_cleaned("A red/blue bus!"), vqa_cleaned("3.5"), vqa_cleaned("U.S.")
    ('red blue bus', '3.5', 'us')
    """
    thousands = re.search(comma, text) is not None
    cleaned = text
    for sign in _PUNCTUATION:
        beside_space = f"{sign} " in text or f" {sign}" in text
        cleaned = cleaned.replace(sign, "" if beside_space or thousands else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned, count=_FULL_STOPS)
    words = [_NUMBERS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def leave_one_out(prediction: str, answers: Sequence[str]) -> float:
    """Mean over the answers, each left out once, of min(1, matches among the others / 3), in [0, 1].

    Examples
    --------
    >>> leave_one_out("a", ["a"] * 3 + ["b"] * 7)  # 3 times 2/3, 7 times 1
    0.9
    >>> leave_one_out("a", ["a"] + ["b"] * 9)  # 9 times 1/3
    0.3
    """
    matches = sum(answer == prediction for answer in answers)
    # In units of one third, so that the sum is exact.
    thirds = sum(min(3, matches - (answer == prediction)) for answer in answers)
    return thirds / (3 * len(answers))


def textvqa_accuracy(reply: str, answers: Sequence[str]) -> float:
    """Both sides cleaned by `evalai`, then `leave_one_out`: LLaVA's and lmms-eval's rule for TextVQA are the same.

    llava/eval/{eval_textvqa,m4c_evaluator}.py, haotian-liu/LLaVA@c121f043; lmms-eval 0.7.3, tasks/textvqa/utils.py.
    """
    return leave_one_out(evalai(reply), [evalai(answer) for answer in answers])


def vqa_official(prediction: str, answers: Sequence[str]) -> float:
    """VQA's own evaluation: texts are cleaned only if the answers are not all the same.

    PythonEvaluationTools/vqaEvaluation/vqaEval.py, GT-Vision-Lab/VQA@a013f004. Where all ten people wrote "the cat",
    "cat" is wrong and so is "The cat".
    """
    said, *given = (text.replace("\n", " ").replace("\t", " ").strip() for text in (prediction, *answers))
    if len(set(given)) > 1:
        said, *given = (vqa_cleaned(text, comma=r"\d,\d") for text in (said, *given))
    return leave_one_out(said, given)


def vqav2_llava(reply: str, answers: Sequence[str]) -> float:
    """`vqa_official` on the reply as LLaVA submits it, through `evalai`.

    scripts/convert_vqav2_for_submission.py, haotian-liu/LLaVA@c121f043.
    """
    return vqa_official(evalai(reply), answers)


def vqav2_lmms(reply: str, answers: Sequence[str]) -> float:
    """Both sides always cleaned, by `vqa_cleaned` alone (lmms-eval 0.7.3, tasks/vqav2/utils.py)."""
    said, *given = (
        vqa_cleaned(text.replace("\n", " ").replace("\t", " ").strip()) for text in (reply, *answers)
    )  # fmt: skip
    return leave_one_out(said, given)
