"""Reductions over axes; rewriting turns sums into means."""

from collections.abc import Callable, Sequence

import numpy as np

from attokit.quant.lowering.values import Builder, Symbol


def kept_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Returns a shape reduced over some axes that stay, with size 1."""
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))


def _reduced_shape(value: Symbol, axes) -> tuple[int, ...]:
    return tuple(n for axis, n in enumerate(value.shape) if axis not in axes)


def _check_real(build: Builder, name: str, value: Symbol) -> None:
    if np.dtype(value.dtype).kind not in "fV":
        raise build.error(
            f"{name} of {value.dtype}", "Convert to float32 first: x.astype(jnp.float32)."
        )


def reduce_sum(build: Builder, params, value: Symbol) -> Symbol:
    """A sum over axes; divided by their size it is a mean."""
    _check_real(build, "a sum", value)
    axes = tuple(sorted(params["axes"]))
    shape = _reduced_shape(value, axes)
    return build.emit("sum", [value], shape, axes=axes, keepdims=False)


def extreme(kind: str) -> Callable[..., Symbol]:
    """Returns the lowering of a maximum or minimum over axes (softmax subtracts the maximum)."""

    def lower(build: Builder, params, value: Symbol) -> Symbol:
        _check_real(build, kind, value)
        axes = tuple(sorted(params["axes"]))
        shape = _reduced_shape(value, axes)
        return build.emit(kind, [value], shape, axes=axes, keepdims=False)

    return lower


def reduce_and(build: Builder, params, value: Symbol) -> Symbol:
    """Whether conditions hold everywhere along axes."""
    if np.dtype(value.dtype) != np.bool_:
        raise build.error(f"a bitwise reduction of {value.dtype}", "Reduce conditions (bool).")
    axes = tuple(sorted(params["axes"]))
    shape = _reduced_shape(value, axes)
    return build.emit("reduce_all", [value], shape, axes=axes, keepdims=False)


def reduce_or(build: Builder, params, value: Symbol) -> Symbol:
    """Whether conditions hold anywhere: not everywhere not (TFLite Micro has no REDUCE_ANY)."""
    none = reduce_and(build, params, build.emit("logical_not", [value], value.shape))
    return build.emit("logical_not", [none], none.shape)


def position(kind: str) -> Callable[..., Symbol]:
    """Returns the lowering of argmax or argmin, whose result is int32."""

    def lower(build: Builder, params, value: Symbol) -> Symbol:
        _check_real(build, kind, value)
        (axis,) = params["axes"]
        shape = _reduced_shape(value, (axis,))
        return build.emit(kind, [value], shape, result=np.int32, axis=int(axis))

    return lower
