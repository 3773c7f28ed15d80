"""What a reply says to a yes-or-no question, as each scorer reads it, and the rates that follow."""

from __future__ import annotations

from collections.abc import Iterable

_NEGATIVE = {"No", "no", "not"}


def pope_llava(reply: str) -> str:
    """What LLaVA's POPE script reads, "yes" or "no": all that does not deny is a yes, garbage included.

    What stands before the first full stop, without commas, split at spaces; "no" if one of the words is No, no or not
    (llava/eval/eval_pope.py, haotian-liu/LLaVA@c121f043). "NO" is a yes; so is an empty reply.

    Examples
    --------
    >>> pope_llava("Yes."), pope_llava("No, there is not."), pope_llava("NO"), pope_llava("")
    ('yes', 'no', 'yes', 'yes')
    """
    first = reply.split(".")[0].replace(",", "")
    return "no" if _NEGATIVE.intersection(first.split(" ")) else "yes"


def pope_lmms(reply: str) -> str:
    """The reply in lower case without outer white space: only a bare "yes" or "no" can be right.

    lmms-eval 0.7.3, tasks/pope/utils.py.

    Examples
    --------
    >>> pope_lmms("Yes"), pope_lmms("Yes.")
    ('yes', 'yes.')
    """
    return reply.lower().strip()


def mme_official(reply: str) -> str:
    """What MME's own evaluation reads, "yes", "no" or "other": by the first four characters.

    tools/eval_tool.zip, calculation.py (BradyFU/Awesome-Multimodal-Large-Language-Models@dd295090, branch Evaluation);
    LLaVA's scripts call it. "Not sure" is a no, for its first two letters.

    Examples
    --------
    >>> mme_official("Yes, it is."), mme_official("Not sure"), mme_official("y"), mme_official("It is not")
    ('yes', 'no', 'other', 'other')
    """
    beginning = reply.lower()[:4]
    return next((word for word in ("yes", "no") if word in beginning), "other")


def mme_lmms(reply: str) -> str:
    """The same after dropping outer white space and every full stop; "y" and "n" alone count as well.

    lmms-eval 0.7.3, tasks/mme/utils.py.

    Examples
    --------
    >>> mme_lmms("Y."), mme_lmms("n"), mme_lmms("...no")
    ('yes', 'no', 'no')
    """
    text = reply.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(text, mme_official(text))


def rates(read: Iterable[str], truth: Iterable[str]) -> dict[str, float]:
    """Precision, recall and F1 of "yes" in percent, and `yes_ratio`, the share of replies that were read as "yes".

    A reply that is neither "yes" nor "no" enters neither precision nor recall. A rate over nothing is 0, as in
    lmms-eval; LLaVA's script stops with a division by zero there.

    Examples
    --------
    >>> rates(["yes", "yes", "no"], ["yes", "no", "yes"])
    {'precision': 50.0, 'recall': 50.0, 'f1': 50.0, 'yes_ratio': 66.66666666666667}
    """
    pairs = list(zip(read, truth, strict=True))
    right, wrong, missed = (pairs.count(kind) for kind in (("yes", "yes"), ("yes", "no"), ("no", "yes")))
    precision, recall = _share(right, right + wrong), _share(right, right + missed)
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    said = sum(reply == "yes" for reply, _ in pairs)
    return {"precision": precision, "recall": recall, "f1": f1, "yes_ratio": _share(said, len(pairs))}


def _share(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
