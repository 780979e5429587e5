"""PRELU: a rectifier whose slope for negative values is a weight, often one per channel.

The slopes are int8 with one scale, so all channels share the range that they span.
"""

import jax.numpy as jnp

from attokit.quant.ops.arithmetic import aligned
from attokit.quant.ops.kind import Kernels, Op, OpKind, Ratio, Rescaled, Scales
from attokit.quant.ops.requantize import rescale


def _compute(op, values, slopes):
    """Inputs: values, and slopes that broadcast against them."""
    del op
    values, slopes = aligned(values, slopes)
    return (jnp.where(values >= 0, values, values * slopes),)


def _ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """Of what is positive, and of the product with the slope."""
    del op
    single = kernels != "micro"
    (values, slopes), (output,) = scales.inputs, scales.outputs
    return (
        Ratio(first=values, third=output, single=single),
        Ratio(first=values, second=slopes, third=output, single=single),
    )


def _integer(op, kernels, integers, multipliers, scales):
    del op, kernels, scales  # XNNPACK does not take PRELU: the built-in kernel runs
    values, slopes = aligned(*(x.astype(jnp.int32) for x in integers))
    above = rescale(values, multipliers[0], "reference")
    below = rescale(values * slopes, multipliers[1], "reference")
    positive = values >= 0
    return (
        Rescaled(
            integers=jnp.where(positive, above.integers, below.integers),
            real=jnp.where(positive, above.real, below.real),
        ),
    )


PRELU = OpKind(
    name="prelu",
    compute=_compute,
    integer=_integer,
    ratios=_ratios,
    elementwise=True,
    homogeneous="singly",
)
