"""Gradient filtering: gradients of convolutions from patches, for training where memory and time are short.

The forward pass is the ordinary convolution. For the backward pass the output is cut into patches of
r x r pixels: the cotangent is averaged over each patch, and of the input only the sum over the patch's
place is kept, r² times fewer numbers (times strides²). The gradient of the kernel is then one number per pair of
channels, the same for every tap, and that of the input one vector per patch. Both are approximations: exact for
1x1 kernels without strides whose cotangent is constant in each patch.

Yang, Li and Marculescu, "Efficient On-device Training via Gradient Filtering", CVPR 2023.

Deviation: kernels with a dilation are filtered like others, though the paper keeps their taps apart where the
dilation is at least r; networks here dilate few layers.

Deviation: where a map is no whole number of patches, the last patches are cut, of the input as of the output. The
paper's code pads the input on both sides and the output at the end alone, so that a patch of the input is not the
place of the output's.
"""

import fnmatch
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from attokit.train.forward import Forward
from attokit.zoo.convolution import Conv

Convolve = Callable[[Array, Array], Array]


def _patch_grid(size: int, out: int, stride: int, patch: int) -> tuple[int, int, tuple[int, int]]:
    """Returns, along one axis, the number of patches, the input pixels of each, and the padding.

    An output pixel is at home in `stride` pixels of the input. The padding makes the input a whole number of
    patches; it is negative where pixels are left out, such as those around the homes of a VALID convolution.
    """
    count, width = -(-out // patch), patch * stride
    low = -max(0, (size - out * stride) // 2)
    return count, width, (low, count * width - size - low)


def _sum_patches(
    x: Float[Array, "b h w c"], out: tuple[int, int], strides: tuple[int, int], patch: int
) -> Float[Array, "b p q c"]:
    """Returns the sums of the input over the places of the output's patches."""
    (rows, height, tall), (columns, width, wide) = (
        _patch_grid(*axis, patch) for axis in zip(x.shape[1:3], out, strides, strict=True)
    )
    none = (0, 0, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), (none, (*tall, 0), (*wide, 0), none))
    return x.reshape(x.shape[0], rows, height, columns, width, -1).sum((2, 4))


def _average_patches(cotangent: Float[Array, "b h w c"], patch: int) -> Float[Array, "b p q c"]:
    """Returns the mean over each patch; one at the edge counts the pixels that it has."""

    def summed(values: Array) -> Array:
        missing = [-size % patch for size in values.shape[1:3]]
        padded = jnp.pad(values, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        batch, height, width, channels = padded.shape
        shape = (batch, height // patch, patch, width // patch, patch, channels)
        return padded.reshape(shape).sum((2, 4))

    return summed(cotangent) / summed(jnp.ones_like(cotangent[:1, :, :, :1]))


def _spread_patches(
    patches: Float[Array, "b p q c"],
    size: tuple[int, int],
    out: tuple[int, int],
    strides: tuple[int, int],
    patch: int,
) -> Float[Array, "b h w c"]:
    """Returns the input's pixels, each with the vector of its patch."""
    for axis in (0, 1):
        _, width, (low, high) = _patch_grid(size[axis], out[axis], strides[axis], patch)
        none = [(0, 0, 0)] * 4
        none[axis + 1] = (-low, -high, 0)
        repeated = jnp.repeat(patches, width, axis=axis + 1)
        patches = lax.pad(repeated, jnp.zeros((), repeated.dtype), none)
    return patches


class _Layer(NamedTuple):
    """What is known of a convolution before it runs."""

    convolve: Convolve
    size: tuple[int, int]
    strides: tuple[int, int]
    patch: int
    groups: int


def filtered_conv(
    convolve: Convolve,
    x: Float[Array, "b h w cin"],
    kernel: Float[Array, "kh kw cin_per_group cout"],
    *,
    patch: int,
    strides: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Float[Array, "b h2 w2 cout"]:
    """Returns `convolve(x, kernel)`, with gradients that are taken from patches.

    Args:
      convolve: The convolution, a function of both that closes over no arrays.
      x: Its input.
      kernel: Its kernel.
      patch: Side r of a patch of the output, in pixels.
      strides: Those of the convolution, one number or (rows, columns).
      groups: Of channels.
    """
    height, width = x.shape[1:3]
    rows, columns = (strides, strides) if isinstance(strides, int) else strides
    layer = _Layer(convolve, (height, width), (rows, columns), patch, groups)
    return _filtered(layer, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _filtered(layer: _Layer, x: Array, kernel: Array) -> Array:
    return layer.convolve(x, kernel)


def _filtered_forward(layer: _Layer, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    y = layer.convolve(x, kernel)
    _, height, width, _ = y.shape
    return y, (_sum_patches(x, (height, width), layer.strides, layer.patch), kernel)


def _filtered_backward(
    layer: _Layer, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    summed, kernel = residuals
    averaged = _average_patches(cotangent, layer.patch)
    batch, rows, columns, channels = summed.shape
    ours = summed.reshape(batch, rows, columns, layer.groups, -1)
    theirs = averaged.reshape(batch, rows, columns, layer.groups, -1)
    # [i, g, o] is the layout of a grouped kernel: its outputs are group after group.
    of_taps = jnp.einsum("bpqgi,bpqgo->igo", ours, theirs).reshape(kernel.shape[2:])
    taps = kernel.sum((0, 1)).reshape(channels // layer.groups, layer.groups, -1)
    of_patches = jnp.einsum("bpqgo,igo->bpqgi", theirs, taps).reshape(summed.shape)
    _, height, width, _ = cotangent.shape
    of_x = _spread_patches(of_patches, layer.size, (height, width), layer.strides, layer.patch)
    return of_x, jnp.broadcast_to(of_taps[None, None], kernel.shape)


_filtered.defvjp(_filtered_forward, _filtered_backward)


def filter_gradients(forward: Forward, patterns: Sequence[str], patch: int) -> Forward:
    """Returns a network whose convolutions under some paths have filtered gradients.

    Args:
      forward: Calls Linen modules, such as `flax_forward` gives.
      patterns: Of paths of convolution layers (`zoo.Conv`), as in a shell: "stage4/*".
      patch: Side of the patches in pixels of each layer's output.

    Raises:
      ValueError: when it is traced, if a pattern fits no convolution; it lists those that there are.
    """

    def filtered(
        params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[Any, PyTree]:
        seen: list[str] = []

        def layer(next_: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
            module = context.module
            if not isinstance(module, Conv) or context.method_name != "__call__":
                return next_(*args, **kwargs)
            path = "/".join(module.path)
            seen.append(path)
            if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
                return next_(*args, **kwargs)
            return _call_filtered(module, args[0], patch)

        with nn.intercept_methods(layer):
            result = forward(params, model_state, inputs, train=train, key=key)
        idle = [pattern for pattern in patterns if not fnmatch.filter(seen, pattern)]
        if idle:
            raise ValueError(
                f"no convolution has a path like {idle[0]!r} (of filter_gradients): there are "
                f"{', '.join(dict.fromkeys(seen)) or 'none'}"
            )
        return result

    return filtered


def _call_filtered(module: Conv, x: Array, patch: int) -> Array:
    """Returns what a bound convolution layer gives, with filtered gradients."""
    parameters = module.variables["params"]
    plain = module.clone(use_bias=False, parent=None, name=None)

    def convolve(x: Array, kernel: Array) -> Array:
        return jnp.asarray(plain.apply({"params": {"kernel": kernel}}, x))

    kernel = parameters["kernel"].astype(x.dtype)
    y = filtered_conv(
        convolve, x, kernel, patch=patch, strides=module.strides, groups=module.groups
    )
    if module.use_bias:
        y = y + parameters["bias"].astype(y.dtype)[None, None, None]
    return y
