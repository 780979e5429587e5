"""Attention condensers: attention computed where there are few cells (Wong et al., arXiv 2008.04245).

For activations V [b, h, w, c], with a window p:

    Q = C(V)           condense: the largest value of each p x p cells         [b, h/p, w/p, c]
    K = E(Q)           embed: a grouped convolution, then a pointwise one      [b, h/p, w/p, e]
    A = X(K)           expand: a pointwise convolution to c channels, resized  [b, h, w, c]
    V' = F(V, A, S)    selective attention with a learned scale S              [b, h, w, c]

    F = "gate":  V * sigmoid(A) * S + V        F = "sum":  V * S + A

The visual form (AttendNets, arXiv 2009.14385) mixes channels around that chain: a 1x1 convolution to
fewer channels before it is condensed (down-mixing), one back to c before it is expanded (up-mixing).
V bypasses all of it.

Every convolution but the depthwise one of the embedding is followed by a batch norm, the embedding's by
a relu too; in inference all of them fold.  A is normalized as well, so that the sigmoid starts in its
steep part.

Deviation: the papers draw F as one node that multiplies and adds V, A and S.  Which of the forms above
it is remains unconfirmed, so both can be chosen; the gate is the default because its result stays
within V and (1 + S) V, which bounds the range that INT8 has to cover.
Deviation: A is resized after the pointwise convolution, not before.  Both orders give the same
function, because the weights of a cell sum to 1, and this one multiplies where there are few cells.
Deviation: A is resized to the exact size of V by bilinear interpolation with half-pixel centres, so that
odd sizes need no cropping; the papers say only that it is upsampled.
Deviation: batch norms in the chain, and where its relus stand, are this project's.
"""

import dataclasses
from typing import Literal, get_args

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.pooling import max_pool
from attokit.zoo.resize import resize
from attokit.zoo.sizes import check_positive

Attention = Literal["gate", "sum"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CondenserConfig:
    """Sizes of one attention condenser.

    Attributes:
      grouped: Channels after the grouped convolution.
      embedded: Channels after the pointwise one.
      kernel_size: Side of the grouped kernel.
      groups: Of the grouped convolution; None for one per input channel (depthwise).
      window: Cells along each axis that are condensed into one.
      mixed: Channels after the down-mixing of the visual form; None for the plain form.
      attention: How V and A are joined.
    """

    grouped: int
    embedded: int
    kernel_size: int = 3
    groups: int | None = 1
    window: int = 2
    mixed: int | None = None
    attention: Attention = "gate"

    def __post_init__(self) -> None:
        """Refuses sizes that no condenser can have."""
        check_positive(self, "grouped", "embedded", "kernel_size", "window")
        for name in ("groups", "mixed"):
            if getattr(self, name) is not None:
                check_positive(self, name)
        if self.attention not in get_args(Attention):
            raise ValueError(
                f"attention={self.attention!r}: give one of {', '.join(get_args(Attention))}"
            )
        for name, channels in (("grouped", self.grouped), ("mixed", self.mixed)):
            if channels is not None and channels % (self.groups or 1):
                raise ValueError(
                    f"{name}={channels} does not divide into groups={self.groups}: choose a divisor"
                )


class AttentionCondenser(nn.Module):
    """The layer of a config; it keeps the shape of what it attends to.

    Parameters are named `down_mix`, `embed_grouped`, `embed_pointwise`, `up_mix` or `expand`, and `scale`.
    """

    config: CondenserConfig

    @nn.compact
    def __call__(
        self, v: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """Returns the activations after selective attention."""
        sizes, channels = self.config, v.shape[-1]
        visual = sizes.mixed is not None
        q = v if not visual else ConvNorm(sizes.mixed, name="down_mix")(v, train=train)
        q = max_pool(q, sizes.window)
        k = ConvNorm(
            sizes.grouped,
            sizes.kernel_size,
            groups=sizes.groups or q.shape[-1],
            name="embed_grouped",
        )(q, train=train)
        k = ConvNorm(sizes.embedded, name="embed_pointwise")(k, train=train)
        a = ConvNorm(channels, activation="none", name="up_mix" if visual else "expand")(
            k, train=train
        )
        a = resize(a, v.shape[1:3])
        scale = self.param("scale", nn.initializers.ones_init(), ()).astype(v.dtype)
        return _select(sizes.attention, v, a, scale)


def _select(
    attention: Attention,
    v: Float[Array, "b h w c"],
    a: Float[Array, "b h w c"],
    scale: Float[Array, ""],
) -> Float[Array, "b h w c"]:
    if attention == "sum":
        return v * scale + a
    return v * nn.sigmoid(a) * scale + v
