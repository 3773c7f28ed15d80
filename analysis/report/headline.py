"""The few numbers at the top of the report, looked up in the tables."""

from __future__ import annotations

import math
from typing import NamedTuple

from analysis.figures import frames, palette

from . import numbers
from .content import ReportInput


class Fact(NamedTuple):
    """One large number with its meaning."""

    value: str
    unit: str
    label: str
    detail: str


def headline(content: ReportInput) -> list[Fact]:
    """Full model, best pruner, best certified selection and concentration of attention, as far as they are known."""
    facts = (_full(content), _best_pruner(content), _certified(content), _concentration(content))
    return [fact for fact in facts if fact is not None]


def _full(content: ReportInput) -> Fact | None:
    row = frames.full_model(content.accuracy)
    if row is None:
        return None
    interval = numbers.percent_interval(row["low"], row["high"])
    return Fact(
        numbers.percent(row["estimate"]),
        "%",
        "accuracy of the full model",
        f"{int(row['keep'])} visual tokens, {interval}\u00a0%",
    )


def _best_pruner(content: ReportInput) -> Fact | None:
    keep = frames.chosen_budget(content.accuracy, None, "accuracy")
    order = frames.ranked(content.accuracy, keep)
    contenders = frames.contenders(order)
    if not contenders:
        return None
    rows = content.accuracy[(content.accuracy["keep"] == keep) & (content.accuracy["task"] == frames.MEAN)]
    values = dict(zip(rows["pruner"], rows["estimate"], strict=True))
    chance = [name for name in order if palette.key(name) == "random" and name != contenders[0]]
    against = f", random {numbers.percent(values[chance[0]])}\u00a0%" if chance else ""
    label = f"accuracy of {palette.look(contenders[0]).label}"
    return Fact(numbers.percent(values[contenders[0]]), "%", label, f"best at {keep} tokens{against}")


def _certified(content: ReportInput) -> Fact | None:
    keep = frames.chosen_budget(content.selection, None, "selection")
    objective = "FacilityLocation"
    rows = content.selection
    rows = rows[(rows["keep"] == keep) & (rows["objective"] == objective) & (rows["kind"] == "solver")]
    gaps = zip(rows["gap"].astype(float), rows["solver"].astype(str), strict=True)
    known = [(gap, solver) for gap, solver in gaps if math.isfinite(gap)]
    if not known:
        return None
    gap, solver = min(known)
    detail = f"{solver}, facility location at {keep} tokens"
    return Fact(numbers.gap(gap), "%", "certified gap to the best selection", detail)


def _concentration(content: ReportInput) -> Fact | None:
    rows = content.attention[content.attention["metric"] == "effective_tokens"]
    found = []
    # the encoder's last layers may lie behind the one whose features the model uses: what they attend to has no effect
    for source, last in (("vision CLS", content.feature_layer), ("text last token", None)):
        layers = rows[(rows["source"] == source) & (rows["layer"] <= (math.inf if last is None else last))]
        if layers.empty:
            return None
        row = layers.sort_values("layer").iloc[-1]
        found.append((numbers.significant(float(row["estimate"])), int(row["layer"])))
    (cls, vision_layer), (text, text_layer) = found
    detail = f"vision layer {vision_layer}; last token of the text, layer {text_layer}: {text}"
    return Fact(cls, "", "effective tokens of the CLS", detail)
