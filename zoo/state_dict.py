"""Reads PyTorch's state dicts, as NumPy arrays by name, into the variables of a network here.

Who reads says which module here is which there; layouts follow from the kind of the parameter.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

State = Mapping[str, np.ndarray]
Path = tuple[str, ...]
Wanted = tuple[str, tuple[int, ...] | None]  # a name there, and the shape here if it is known

# A parameter's name here -> its name there; the same where it does not stand here.
_PARAMETERS = MappingProxyType(
    {
        "kernel": "weight",
        "mean": "running_mean",
        "scale": "weight",
        "transposed_kernel": "weight",
        "var": "running_var",
    }
)
_ROWS_THERE = ("bias_gate", "bias_update")  # [1, h]
_SCALARS = ("zeta", "nu")  # [1, 1]
_IGNORED = "num_batches_tracked"
_PREFIX = "module."  # what training on several GPUs adds


def find_wanted(
    model: nn.Module, image_size: tuple[int, ...], modules: Mapping[str, str]
) -> dict[Path, Wanted]:
    """Returns what to read for every variable of a network; nothing runs.

    Args:
      model: The network.
      image_size: Height, width and channels that it takes.
      modules: A module's path here, with slashes, to its name there.
    """
    images = jax.ShapeDtypeStruct((1, *image_size), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    wanted: dict[Path, Wanted] = {}
    for path, leaf in flax.traverse_util.flatten_dict(shapes).items():
        module, parameter = "/".join(path[1:-1]), path[-1]
        wanted[path] = (f"{modules[module]}.{_PARAMETERS.get(parameter, parameter)}", leaf.shape)
    return wanted


def without_prefix(state: State) -> State:
    """Returns a state dict without the prefix that parallel training puts before every name."""
    if state and all(key.startswith(_PREFIX) for key in state):
        return {key.removeprefix(_PREFIX): values for key, values in state.items()}
    return state


def read(
    network: str,
    state: State,
    wanted: Mapping[Path, Wanted],
    copies_of: Callable[[str], Iterable[str]] = lambda key: (),
) -> dict[str, Any]:
    """Returns nested arrays, float32, of all paths.

    Args:
      network: What to call it in an error.
      state: Arrays by name; counts of batches may be there and are not read.
      wanted: By path; a shape of None is that of the tensor without axes of size 1.
      copies_of: Names under which a tensor may stand once more, with the same numbers.

    Raises:
      ValueError: with everything that does not fit.
    """
    keys = {key for key, _ in wanted.values()}
    copies = {copy: key for key in keys for copy in copies_of(key)}
    problems = {
        "missing": sorted(keys - set(state)),
        "not of this network": sorted(
            key for key in set(state) - keys - set(copies) if key.rpartition(".")[2] != _IGNORED
        ),
        "unlike the tensor that they copy": sorted(
            copy
            for copy, key in copies.items()
            if copy in state and key in state and not np.array_equal(state[copy], state[key])
        ),
    }
    arrays = {}
    misshapen = []
    for path, (key, shape) in wanted.items():
        if key not in state:
            continue
        values = _in_our_layout(path[-1], np.asarray(state[key]), shape)
        if shape is not None and values.shape != shape:
            misshapen.append(f"{key} {np.shape(state[key])}")
        arrays[path] = jnp.asarray(values, jnp.float32)
    problems["of another shape"] = sorted(misshapen)
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(them)}" for what, them in problems.items() if them)
        raise ValueError(
            f"the state dict does not fit {network}: {listed}. Give the state dict of that network alone"
        )
    return flax.traverse_util.unflatten_dict(arrays)


def _in_our_layout(name: str, values: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    if name == "transposed_kernel" and values.ndim == 4:  # [cin, cout, kh, kw] there
        return values.transpose(2, 3, 0, 1)
    if name == "kernel":  # OIHW and [out, in] there
        if values.ndim == 2 and shape is not None and len(shape) == 4:
            values = _as_map(values, shape)
        return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T
    if name in _SCALARS and values.size == 1:
        return values.reshape(())
    return values.reshape(-1) if name in _ROWS_THERE else values


def _as_map(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a layer over a flattened map, channels first there, as the convolution that it is here."""
    kh, kw, cin, _ = shape
    fits = matrix.shape[1] == cin * kh * kw
    return matrix.reshape(matrix.shape[0], cin, kh, kw) if fits else matrix
