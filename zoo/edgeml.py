"""Reads the weights of EdgeML's PyTorch networks (microsoft/EdgeML) into the networks of this zoo.

A state dict maps names to tensors; here they are NumPy arrays, however they were loaded.  Names are those
of the modules in the reference implementation (`_wake_word_modules`, `_face_modules` say which is which); the
prefix "module.", which training on several GPUs adds, may be there.  PyTorch lists every tensor of a
recurrent cell again below `unrollRNN`: those copies may be there or not, but must be equal.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.zoo import rnnpool_face, rnnpool_vww
from attokit.zoo.rnnpool_face import RNNPoolFace, RNNPoolFaceConfig
from attokit.zoo.rnnpool_vww import RNNPoolVWW, RNNPoolVWWConfig

State = Mapping[str, np.ndarray]
Modules = Mapping[str, str]  # a module's path here -> its name there
Path = tuple[str, ...]
Wanted = tuple[str, tuple[int, ...] | None]  # a name there, and the shape here if it is known

_CELLS = MappingProxyType({"rnn1": "cell_rnn.cell", "rnn2": "cell_bidirrnn.cell"})
_COPIES = ("unrollRNN.RNNCell", "unrollRNN.RNNCell_reverse")  # of `cell`
_NORMS = ("L2Norm3_3", "L2Norm4_3", "L2Norm5_3")

# A parameter's name here -> its name there; the same where it does not stand here.
_PARAMETERS = MappingProxyType(
    {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
)
_ROWS_THERE = ("bias_gate", "bias_update")  # [1, h]
_SCALARS = ("zeta", "nu")  # [1, 1]
_IGNORED = "num_batches_tracked"
_PREFIX = "module."


def rnnpool_from_edgeml(state: State) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Returns `zoo.rnn_pool` parameters from the state dict of an `RNNPool`.

    Raises:
      ValueError: if keys lack, are left over or copies differ; all of them are listed.
    """
    state = _without_prefix(state)
    wanted: dict[Path, Wanted] = {
        (cell, name): (f"{there}.{name}", None)
        for cell, there in _CELLS.items()
        for name in ("W", "U", "bias_gate", "bias_update", "zeta", "nu")
    }
    return _nested(_read("RNNPool", state, wanted))


def variables_from_edgeml(name: str, state: State) -> dict[str, Any]:
    """Returns the variables {"params", "batch_stats"} of `zoo.create(name)` from a state dict.

    The wake word networks take images in [0, 1]; EdgeML trained them on images that were standardized by
    the mean and deviation of ImageNet: its weights want `zoo.create(name, input_mean=(0.485, 0.456, 0.406),
    input_std=(0.229, 0.224, 0.225))`.  The detectors subtract what EdgeML subtracts.

    Args:
      name: "rnnpool_vww", "rnnpool_vww_2", "rnnpool_face_c", "rnnpool_face_quant", "rnnpool_face_qvga" or
        "rnnpool_face_m4", which is `RPool_Face_C` and so on there.
      state: Arrays by name; of a detector what its file has under "weight".

    Raises:
      ValueError: if EdgeML has no such network, or keys lack, are left over, have other shapes, or copies
        differ; all of them are listed.
    """
    model, modules = _network(name)
    images = jax.ShapeDtypeStruct((1, *model.config.image_size), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    wanted: dict[Path, Wanted] = {}
    for path, leaf in flax.traverse_util.flatten_dict(shapes).items():
        module, parameter = "/".join(path[1:-1]), path[-1]
        wanted[path] = (f"{modules[module]}.{_PARAMETERS.get(parameter, parameter)}", leaf.shape)
    return _nested(_read(name, _without_prefix(state), wanted))


def _network(name: str) -> tuple[nn.Module, Modules]:
    wake_word, faces = rnnpool_vww.VARIANTS, rnnpool_face.VARIANTS
    if name in wake_word:
        return RNNPoolVWW(wake_word[name]), dict(_wake_word_modules(wake_word[name]))
    if name in faces:
        return RNNPoolFace(faces[name]), dict(_face_modules(faces[name]))
    raise ValueError(
        f"EdgeML has no network {name!r}: choose from {', '.join(sorted([*wake_word, *faces]))}"
    )


def _wake_word_modules(config: RNNPoolVWWConfig) -> Iterator[tuple[str, str]]:
    """Yields the modules of a wake word network, here and there."""
    yield from _conv_norm("stem", "features_init.")
    yield from _cells("pool/rnnpool", "rnn_model")
    blocks = 0
    for stage, (expansion, _, repetitions, _) in enumerate(rnnpool_vww.ROWS, start=1):
        for block in range(1, repetitions + 1):
            yield from _block(f"stage{stage}_block{block}", f"features.{blocks}", expansion)
            blocks += 1
    yield from _conv_norm("last", f"features.{blocks}.")
    yield from _cells("last_pool/rnnpool", "rnn_model_end")
    yield "head", "classifier.1" if config.dropout else "classifier.0"  # behind Dropout


def _face_modules(config: RNNPoolFaceConfig) -> Iterator[tuple[str, str]]:
    """Yields the modules of a detector, here and there."""
    alone = len(config.stem) == 1
    for number in range(1, len(config.stem) + 1):
        yield from _conv_norm(f"stem{number}", "conv." if alone else f"conv_top.{number - 1}.")
    yield from _cells("pool", "rnn_model")
    blocks = 0
    for number, stage in enumerate(config.stages, start=1):
        for block in range(1, stage.blocks + 1):
            yield from _block(f"stage{number}_block{block}", f"mob.{blocks}", stage.expansion)
            blocks += 1
    for number, there in enumerate(_NORMS, start=1):
        yield f"norm{number}", there
    # A head that reduces its map is two entries of the lists of heads, every other one is one.
    shift = -1 if config.stem_norm_scale is None else 0
    for head, there in (("boxes", "loc"), ("scores", "conf")):
        yield from _conv_norm(f"{head}1_stem", f"{there}.0.")
        for number in range(1, len(config.prior_steps) + 1):
            yield f"{head}{number}", f"{there}.{number + shift}"


def _conv_norm(here: str, there: str) -> Iterator[tuple[str, str]]:
    yield f"{here}/conv", f"{there}0"
    yield f"{here}/norm", f"{there}1"


def _cells(here: str, there: str) -> Iterator[tuple[str, str]]:
    return ((f"{here}/{cell}", f"{there}.{name}") for cell, name in _CELLS.items())


def _block(here: str, there: str, expansion: int) -> Iterator[tuple[str, str]]:
    """Yields the modules of an inverted residual: a list there, which starts with the widening if any."""
    first = 0
    if expansion != 1:
        yield from _conv_norm(f"{here}/expand", f"{there}.conv.0.")
        first = 1
    yield from _conv_norm(f"{here}/depthwise", f"{there}.conv.{first}.")
    yield f"{here}/project/conv", f"{there}.conv.{first + 1}"
    yield f"{here}/project/norm", f"{there}.conv.{first + 2}"


def _without_prefix(state: State) -> State:
    if state and all(key.startswith(_PREFIX) for key in state):
        return {key.removeprefix(_PREFIX): values for key, values in state.items()}
    return state


def _read(network: str, state: State, wanted: Mapping[Path, Wanted]) -> dict[Path, Array]:
    """Returns the arrays of all paths; a shape of None is that of the tensor without axes of size 1.

    Raises:
      ValueError: with everything that does not fit.
    """
    keys = {key for key, _ in wanted.values()}
    copies = {copy: key for key in keys for copy in _copies(key)}
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
        values = _in_our_layout(path[-1], np.asarray(state[key]))
        if shape is not None and values.shape != shape:
            misshapen.append(f"{key} {np.shape(state[key])}")
        arrays[path] = jnp.asarray(values, jnp.float32)
    problems["of another shape"] = sorted(misshapen)
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(them)}" for what, them in problems.items() if them)
        raise ValueError(
            f"the state dict does not fit {network}: {listed}. Give the state dict of that network alone"
        )
    return arrays


def _copies(key: str) -> Iterator[str]:
    """Yields where PyTorch lists a cell's tensor again."""
    cell, dot, name = key.rpartition(".cell.")
    if dot:
        yield from (f"{cell}.{copy}.{name}" for copy in _COPIES)


def _in_our_layout(name: str, values: np.ndarray) -> np.ndarray:
    if name == "kernel":  # OIHW and [out, in] there
        return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T
    if name in _SCALARS and values.size == 1:
        return values.reshape(())
    return values.reshape(-1) if name in _ROWS_THERE else values


def _nested(arrays: Mapping[Path, Array]) -> dict[str, Any]:
    return flax.traverse_util.unflatten_dict(arrays)
