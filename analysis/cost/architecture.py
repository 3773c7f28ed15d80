"""What counting needs to know of a model: matrix entries and attention widths, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A layer of the encoder or of the language model.

    Parameters
    ----------
    matrices
        Entries of its weight matrices: multiply-accumulates per token.
    attention_width
        Query heads times head dimension: every score costs as many multiply-accumulates, every weighted sum as well.
    gate_matrix
        Entries of the third matrix of a gated MLP, which is among `matrices`; 0 without a gate.
    cache_width
        Keys and values that a token leaves in the cache, as a number of values.
    """

    matrices: int
    attention_width: int
    gate_matrix: int = 0
    cache_width: int = 0

    def macs(self, queries: int, keys: int) -> int:
        """Multiply-accumulates of `queries` tokens that each attend to `keys`; not halved for causality."""
        return queries * (self.matrices + 2 * keys * self.attention_width)


@dataclass(frozen=True)
class Encoding:
    """What becomes of one image before the language model.

    Parameters
    ----------
    views
        Pictures the encoder sees: the image, or the image and its crops.
    patches
        Patches of all pictures together.
    segments
        For each block of the encoder, how many tokens attend to each other: a picture with its CLS token, or a window.
    projected
        Tokens that the projector maps.
    visual
        Tokens that the language model receives when nothing is pruned.
    has_cls
        Whether every picture has a CLS token beside its patches.
    """

    views: int
    patches: int
    segments: tuple[tuple[int, ...], ...]
    projected: int
    visual: int
    has_cls: bool


@dataclass(frozen=True)
class Architecture:
    """A model and the image it is asked about.

    Parameters
    ----------
    name
        What it is called in tables.
    encoding
        What becomes of the image.
    encoder, layers
        Blocks of the vision encoder, and of the language model.
    patch_matrix
        Entries of the convolution that embeds a patch.
    projector
        Entries of the projector's matrices.
    width
        Of the language model's states.
    head
        Entries of the language model's head.
    value_bytes
        Bytes of a number in the cache.
    """

    name: str
    encoding: Encoding
    encoder: tuple[Block, ...]
    patch_matrix: int
    projector: int
    layers: tuple[Block, ...]
    width: int
    head: int
    value_bytes: int = 2

    @property
    def visual(self) -> int:
        """Visual tokens of the image when nothing is pruned."""
        return self.encoding.visual

    @property
    def encoder_macs(self) -> int:
        """Of all pictures of the image, patch embedding included: pruning comes after it."""
        blocks = zip(self.encoder, self.encoding.segments, strict=True)
        attended = sum(block.macs(tokens, tokens) for block, segments in blocks for tokens in segments)
        return self.encoding.patches * self.patch_matrix + attended

    @property
    def projector_macs(self) -> int:
        """Of every token: the stock forward projects before a pruner removes any."""
        return self.encoding.projected * self.projector
