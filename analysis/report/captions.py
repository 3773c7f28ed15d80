"""Title, text and place of every figure in the report."""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    """Words around one figure."""

    section: str
    title: str
    text: str


CAPTIONS: dict[str, Caption] = {
    "dispersion": Caption(
        "attention",
        "How concentrated attention is",
        "Attention on the visual tokens, layer by layer, averaged over heads and normalised to one per image. Bands "
        "are 95 % bootstrap intervals over images; the dashed line is perfectly even attention.",
    ),
    "shift": Caption(
        "attention",
        "Where in the image attention falls",
        "Share of visual attention on each quarter of the raster order, Q1 the first rows of the image and Q4 the "
        "last. A positional bias would lift one quarter above the even share of 25 % in layer after layer.",
    ),
    "mass_curves": Caption(
        "attention",
        "How much the most attended tokens hold",
        "Tokens from the most to the least attended: a curve far above the diagonal says that few tokens hold most of "
        "the attention. Markers are published curves of other models, read off their pages.",
    ),
    "index_profile": Caption(
        "attention",
        "Attention along the sequence",
        "Mean attention on each visual token in raster order, over images. Peaks that return at the same places "
        "whatever the image belong to the position, not to what is seen there.",
    ),
    "layer_agreement": Caption(
        "attention",
        "Which layers look at the same tokens",
        "Rank correlation of the attention of every two layers on the same images, mean over images.",
    ),
    "head_atlas": Caption(
        "attention",
        "Every head",
        "Entropy of the attention of each head, mean over images. Heads with the same number do alike in "
        "concentration, spread and place.",
    ),
    "attention_maps": Caption(
        "attention",
        "Attention over one image",
        "Each map has a colour scale of its own, from zero to the largest weight printed below it.",
    ),
    "certified_gap": Caption(
        "selection",
        "Distance to the best possible selection, by proof",
        "The gap is (upper bound − value) / |upper bound|, averaged over images, with 95 % intervals. The bound is "
        "proven for each image, so the true distance to the optimum is at most the one shown. A log-determinant has no "
        "natural zero: compare its gaps with each other only.",
    ),
    "accuracy_vs_budget": Caption(
        "accuracy",
        "Accuracy against the number of tokens kept",
        "Mean over tasks with 95 % intervals from a bootstrap clustered by image. The oracle knows which tokens a "
        "question needs; random and uniform grid look at nothing.",
    ),
    "accuracy_by_task": Caption(
        "accuracy",
        "Which tasks suffer",
        "Accuracy in percent at one budget, best mean first. Darker is better; the full model is on top.",
    ),
    "accuracy_vs_cost": Caption(
        "cost",
        "Accuracy against cost",
        "Arithmetic of the prefill and size of the KV cache as shares of the full model. These are counted, not timed: "
        "latency does not follow from them.",
    ),
    "kept_tokens": Caption(
        "tokens",
        "What each pruner keeps",
        "Kept patches in colour, the others faded; outlined are the tokens that the question needs.",
    ),
}
