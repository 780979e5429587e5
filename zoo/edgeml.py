"""Reads the weights of EdgeML's PyTorch networks (microsoft/EdgeML) into the networks of this zoo.

A state dict maps names to tensors; here they are NumPy arrays, however they were loaded.  Names are those
of the modules in the reference implementation (`_wake_word_modules`, `_face_modules` say which is which); the
prefix "module.", which training on several GPUs adds, may be there.  PyTorch lists every tensor of a
recurrent cell again below `unrollRNN`: those copies may be there or not, but must be equal.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.zoo.mobilenet_v2 import InvertedResidual
from attokit.zoo.rnnpool_face import RNNPoolFace, RNNPoolFaceConfig
from attokit.zoo.rnnpool_face import VARIANTS as FACES
from attokit.zoo.rnnpool_vww import VARIANTS as WAKE_WORD
from attokit.zoo.rnnpool_vww import RNNPoolVWW, RNNPoolVWWConfig

State = Mapping[str, np.ndarray]
Modules = Mapping[str, str]  # a module's path here -> its name there

_CELLS = MappingProxyType({"rnn1": "cell_rnn.cell", "rnn2": "cell_bidirrnn.cell"})
_COPIES = ("unrollRNN.RNNCell", "unrollRNN.RNNCell_reverse")  # of `cell`
_NORMS = ("L2Norm3_3", "L2Norm4_3", "L2Norm5_3")

# A parameter's name here -> its name there; the same where it does not stand here.
_PARAMETERS = MappingProxyType(
    {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
)
_IGNORED = "num_batches_tracked"
_PREFIX = "module."


def rnnpool_from_edgeml(state: State) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Returns `zoo.rnn_pool` parameters from the state dict of an `RNNPool`.

    Raises:
      ValueError: if keys lack, are left over or copies differ; all of them are listed.
    """
    state = _without_prefix(state)
    wanted = {
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
    wanted = {}
    for path, leaf in flax.traverse_util.flatten_dict(shapes).items():
        module, parameter = "/".join(path[1:-1]), path[-1]
        wanted[path] = (f"{modules[module]}.{_PARAMETERS.get(parameter, parameter)}", leaf.shape)
    return _nested(_read(name, _without_prefix(state), wanted))


def _network(name: str) -> tuple[nn.Module, Modules]:
    if name in WAKE_WORD:
        config = WAKE_WORD[name]
        return RNNPoolVWW(config), dict(_wake_word_modules(config))
    if name in FACES:
        config = FACES[name]
        return RNNPoolFace(config), dict(_face_modules(config))
    raise ValueError(
        f"EdgeML has no network {name!r}: choose from {', '.join(sorted([*WAKE_WORD, *FACES]))}"
    )
