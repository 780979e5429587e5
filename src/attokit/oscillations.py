"""Kernels that oscillate between two integers during QAT, and two cures.

The straight-through gradient pushes a latent value that lies near the edge between two integers over it from
either side, again and again, and so the integers never settle. Dampening draws each value to the
middle of its integer; freezing stops those that oscillate at the integer where they were most.

Both are transformations of gradients and updates, {"weights", "log_scales"} as of
`attokit.quantization.QuantizedNetwork`. What they remember is part of the optimizer's state, and so of
the checkpoints; the calibrated scales too, so that a run goes on with those that it began with.

Source: Nagel, Fournarakis, Bondarenko and Blankevoort, "Overcoming Oscillations in Quantization-Aware
Training", 2022, section 4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int8, Int32, PyTree

from attokit.learned_scales import with_scales
from attokit.quant import Graph, QParams, QuantParams
from attokit.quant.kernel_bits import bits_of_kernels
from attokit.quant.ops.requantize import per_channel
from attokit.quant.params import kernel_max, quantize_kernel


def kernels_of(graph: Graph, qparams: QParams) -> dict[str, QuantParams]:
    """Returns the qparams of the weights that a graph holds as a kernel's integers."""
    return {
        name: qparams[name] for name in bits_of_kernels(graph, 8) if name in graph.weight_shapes
    }


def half_cosine(
    first: float, last: float, total_steps: int
) -> Callable[[Int32[Array, ""]], Float[Array, ""]]:
    """Returns a schedule from one value to another along half a cosine, which starts and ends flat."""

    def value(step: Int32[Array, ""]) -> Float[Array, ""]:
        progress = jnp.minimum(step.astype(jnp.float32) / total_steps, 1)
        return last + (first - last) * (1 + jnp.cos(jnp.pi * progress)) / 2

    return value


def dampening_loss(
    kernel: Float[Array, "..."], scale: Float[Array, "*c"], bits: int
) -> Float[Array, ""]:
    """Returns the summed squared distance of a kernel's values from those of their integers.

    Integers and scales count as constants. A value beyond the last integer counts as that, so
    that nothing draws it back.
    """
    steps = per_channel(jax.lax.stop_gradient(scale), kernel.ndim)
    middles = jax.lax.stop_gradient(steps * quantize_kernel(kernel, scale, bits))
    limit = steps * kernel_max(bits)
    return jnp.square(jnp.clip(kernel, -limit, limit) - middles).sum()


class Dampened(NamedTuple):
    """State of `dampen`.

    Attributes:
      step: Updates so far.
      kernels: Qparams as calibrated.
    """

    step: Int32[Array, ""]
    kernels: dict[str, QuantParams]


def dampen(kernels: QParams, weight: float, total_steps: int) -> optax.GradientTransformation:
    """Returns a transformation before an optimizer that adds the gradient of `dampening_loss`.

    So the loss that is trained is the task's plus that, times a weight, over all kernels; clipping sees
    the sum. The loss that the log shows is the task's.

    Args:
      kernels: Qparams by name, as calibrated (`kernels_of`).
      weight: Of the term at the end of training; it rises from 0 along half a cosine.
      total_steps: Of the training.
    """
    weight_at = half_cosine(0.0, weight, total_steps)

    def init(params: PyTree) -> Dampened:
        del params
        return Dampened(jnp.int32(0), dict(kernels))

    def update(gradients: PyTree, state: Dampened, params: PyTree) -> tuple[PyTree, Dampened]:
        entries = with_scales(state.kernels, params["log_scales"])

        def term(weights: dict[str, Array]) -> Array:
            losses = [dampening_loss(weights[n], e.scale, e.bits) for n, e in entries.items()]
            return weight_at(state.step) * jnp.stack(losses).sum()

        added = jax.grad(term)({name: params["weights"][name] for name in entries})
        sums = {name: gradients["weights"][name] + own for name, own in added.items()}
        changed = {**gradients, "weights": {**gradients["weights"], **sums}}
        return changed, Dampened(state.step + 1, state.kernels)

    return optax.GradientTransformation(init, update)


class Flips(NamedTuple):
    """What is remembered of each value of a kernel; all arrays have the kernel's shape.

    Attributes:
      integers: That it has now.
      average: Moving average of them.
      direction: Of the last change, 1 or -1; 0 before the first.
      frequency: Moving average of the share of steps in which it went back, from 0 to 1.
      frozen: Whether it stays at `integers`.
    """

    integers: Int8[Array, "..."]
    average: Float[Array, "..."]
    direction: Int8[Array, "..."]
    frequency: Float[Array, "..."]
    frozen: Bool[Array, "..."]


def first_flips(integers: Int8[Array, "..."]) -> Flips:
    """Returns what is remembered before the first step."""
    return Flips(
        integers=integers,
        average=integers.astype(jnp.float32),
        direction=jnp.zeros_like(integers),
        frequency=jnp.zeros(integers.shape, jnp.float32),
        frozen=jnp.zeros(integers.shape, bool),
    )


def next_flips(
    flips: Flips, integers: Int8[Array, "..."], threshold: Float[Array, ""], momentum: float
) -> Flips:
    """Returns what is remembered after a step that led to new integers.

    A flip is a change against the direction of the change before. Where flips are more
    frequent than the threshold, the value freezes at the rounded average of its integers.

    Args:
      flips: Of the steps before.
      integers: Behind the step, of all values.
      threshold: Frequency above which a value freezes.
      momentum: Share of the newest step in the averages.
    """
    integers = jnp.where(flips.frozen, flips.integers, integers)
    changed = integers != flips.integers
    direction = jnp.where(integers > flips.integers, jnp.int8(1), jnp.int8(-1))
    flipped = changed & (direction == -flips.direction)
    frequency = flips.frequency + momentum * (flipped.astype(jnp.float32) - flips.frequency)
    average = flips.average + momentum * (integers.astype(jnp.float32) - flips.average)
    freezes = (frequency > threshold) & ~flips.frozen
    return Flips(
        integers=jnp.where(freezes, jnp.round(average).astype(jnp.int8), integers),
        average=average,
        direction=jnp.where(changed, direction, flips.direction),
        frequency=frequency,
        frozen=flips.frozen | freezes,
    )


class Watched(NamedTuple):
    """State of `freeze_flips`.

    Attributes:
      step: Updates so far.
      kernels: Qparams as calibrated.
      flips: By name of the kernel.
    """

    step: Int32[Array, ""]
    kernels: dict[str, QuantParams]
    flips: dict[str, Flips]


def freeze_flips(
    kernels: QParams, thresholds: tuple[float, float], momentum: float, total_steps: int
) -> optax.GradientTransformation:
    """Returns a transformation behind an optimizer that freezes the values that oscillate.

    It has to be the last one. A frozen value is its integer times the scale, also while that is learned.

    Args:
      kernels: Qparams by name, as calibrated (`kernels_of`).
      thresholds: Frequency of flips above which a value freezes, at the start and at the end of training;
        between them along half a cosine.
      momentum: Share of the newest step in frequencies and averages.
      total_steps: Of the training.
    """
    threshold_at = half_cosine(*thresholds, total_steps)

    def init(params: PyTree) -> Watched:
        entries = with_scales(kernels, params["log_scales"])
        flips = {n: first_flips(_integers(params["weights"][n], e)) for n, e in entries.items()}
        return Watched(jnp.int32(0), dict(kernels), flips)

    def update(updates: PyTree, state: Watched, params: PyTree) -> tuple[PyTree, Watched]:
        after = optax.apply_updates(params, updates)
        entries = with_scales(state.kernels, after["log_scales"])
        threshold = threshold_at(state.step)
        flips, changes = {}, {}
        for name, entry in entries.items():
            reached = _integers(after["weights"][name], entry)
            own = flips[name] = next_flips(state.flips[name], reached, threshold, momentum)
            held = own.integers.astype(jnp.float32) * per_channel(entry.scale, reached.ndim)
            change = held - params["weights"][name]
            changes[name] = jnp.where(own.frozen, change, updates["weights"][name])
        changed = {**updates, "weights": {**updates["weights"], **changes}}
        return changed, Watched(state.step + 1, state.kernels, flips)

    return optax.GradientTransformation(init, update)


def _integers(kernel: Float[Array, "..."], entry: QuantParams) -> Int8[Array, "..."]:
    return quantize_kernel(kernel, entry.scale, entry.bits).astype(jnp.int8)


def frozen_share(opt_state: Any) -> float | None:
    """Returns the share of the kernels' values that froze, from 0 to 1; None where none may."""
    watched = [
        state
        for state in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, Watched))
        if isinstance(state, Watched)
    ]
    if not watched:
        return None
    frozen = [own.frozen for own in watched[0].flips.values()]
    return sum(int(mask.sum()) for mask in frozen) / sum(mask.size for mask in frozen)
