"""The sibling that sees a picture as crops."""

from __future__ import annotations

from .sibling import Sibling

DESCRIPTION = """The sibling of [mini_llava](../mini_llava/README.md) that sees a picture as crops: a stock
`LlavaNextForConditionalGeneration` with {parameters:,} parameters in float16. A picture of 192 px is cut into 3 x 3
crops of 64 px, and seen once more as a whole, shrunk to 64 px; CLIP vision tower with CLS token (patch 8,
{vision.num_hidden_layers} layers of width {vision.hidden_size}, the same for all; features of layer -2). That is 64
tokens of the whole picture, 576 of the crops and 24 newlines, in front of a Llama of {text.num_hidden_layers} layers.
It is there so that pruning tile by tile, and what each tile's budget should be, is measured on a trained model.
Below, rules prune picture by picture with equal shares of the budget, HiRED with shares of its own; those marked
"together" see all pictures as one. Licence: Apache-2.0, as the project. Outside the questions of `data/mini_vqa` it
knows nothing.

```python
vlm = analysis.load("data/mini_llava_next")
with analysis.prune(vlm, "hired", 64):
    vlm.answer(image, "what color is the circle ?")
```
"""

WARM = """Warm start from `data/mini_llava`: all weights are copied. The position of a token in a crop is the mean of
the nine that it covers when the crop is the whole picture, and the newline is the word before the image."""

WEAKNESS = """No token of a crop knows in which crop it is: where things are it reads off the whole picture and off
the order of the tokens. Training dropped the newlines of a pruned picture, as pruners do here by default; kept
newlines beside pruned tokens it has never seen. The same share of the tokens of the whole picture was dropped as of
the crops."""

NEXT = Sibling(
    recipe="next",
    prefix="crops",
    pruners=("random", "vispruner", "fastervlm", "hired", "divprune"),
    description=DESCRIPTION,
    origin="the model that it comes from, which sees the picture in one piece",
    signal="the CLS rows of the crops, put together,",
    warm=WARM,
    weakness=WEAKNESS,
    together=("vispruner", "fastervlm", "divprune"),
)
