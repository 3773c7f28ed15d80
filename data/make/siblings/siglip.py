"""The sibling without a CLS token."""

from __future__ import annotations

from .sibling import Sibling

DESCRIPTION = """The sibling of [mini_llava](../mini_llava/README.md) without a CLS token: a stock
`LlavaForConditionalGeneration` with {parameters:,} parameters in float16 whose vision tower is SigLIP's
({vision.num_hidden_layers} layers of width {vision.hidden_size}, 192 px, patch 8, no pooling head,
`vision_feature_select_strategy="full"`). The features are those of layer -2: 576 visual tokens, in front of a Llama
of {text.num_hidden_layers} layers. It is there so that what pruners do without CLS attention is measured on a trained
model: with this tower, the mean attention that a token receives from all tokens stands for the CLS row. Licence:
Apache-2.0, as the project. Outside the questions of `data/mini_vqa` it knows nothing.

```python
vlm = analysis.load("data/mini_llava_siglip")
vlm.adapter.has_cls  # False
vlm.answer(image, "what color is the circle ?")
```
"""

WARM = """Warm start from `data/mini_llava`: patch embedding, positions, blocks, projector and language model are
copied. CLIP's normalisation of the embedded patches, which SigLIP lacks, is folded into patch embedding, its bias and
the positions, with one deviation for all patches; CLS and its position are left behind."""

WEAKNESS = """The tower was trained with a CLS token first and then for an hour without, to label patches and what the
mean of its last states shows; SigLIP's own objective, text against picture through a pooling head, it has never seen.
The attention that it pays may differ from that of a SigLIP tower trained on photographs, and with it the order of
pruners that use attention."""

SIGLIP = Sibling(
    recipe="siglip",
    prefix="sibling",
    pruners=("random", "vispruner", "fastervlm", "divprune", "oracle"),
    description=DESCRIPTION,
    origin="the model with CLS that it comes from",
    signal="the mean received attention",
    warm=WARM,
    weakness=WEAKNESS,
)
