"""When an answer counts as right, as pure functions of text."""

from __future__ import annotations


def normalise(text: str) -> str:
    """Lower case, single spaces, no space or full stop at either end's outside.

    The cleaning that LLaVA's GQA script gives a prediction, `rstrip(".")` and `lower()`
    (haotian-liu/LLaVA@c121f043), with white space made irrelevant on top.

    Examples
    --------
    >>> normalise("  Yes. ")
    'yes'
    >>> normalise("4  2")
    '4 2'
    """
    return " ".join(text.lower().split()).rstrip(". ")


def exact_match(prediction: str, answer: str) -> bool:
    """Whether both texts are equal after `normalise`.

    The embedded benchmark scores every one of its sub-tasks like this; a number from it must not be averaged with
    one from a soft or a substring score.

    Examples
    --------
    >>> exact_match("Red.", "red"), exact_match("4 2", "42"), exact_match("yes it is", "yes")
    (True, False, False)
    """
    return normalise(prediction) == normalise(answer)
