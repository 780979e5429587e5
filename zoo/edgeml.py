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
from jaxtyping import Array, Float

from attokit.zoo import rnnpool_face, rnnpool_vww
from attokit.zoo.rnnpool_face import RNNPoolFace, RNNPoolFaceConfig
from attokit.zoo.rnnpool_vww import RNNPoolVWW, RNNPoolVWWConfig
from attokit.zoo.state_dict import Path, State, Wanted, find_wanted, read, without_prefix

_CELLS = MappingProxyType({"rnn1": "cell_rnn.cell", "rnn2": "cell_bidirrnn.cell"})
_COPIES = ("unrollRNN.RNNCell", "unrollRNN.RNNCell_reverse")  # of `cell`
_NORMS = ("L2Norm3_3", "L2Norm4_3", "L2Norm5_3")


def rnnpool_from_edgeml(state: State) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Returns `zoo.rnn_pool` parameters from the state dict of an `RNNPool`.

    Raises:
      ValueError: if keys lack, are left over or copies differ; all of them are listed.
    """
    wanted: dict[Path, Wanted] = {
        (cell, name): (f"{there}.{name}", None)
        for cell, there in _CELLS.items()
        for name in ("W", "U", "bias_gate", "bias_update", "zeta", "nu")
    }
    return read("RNNPool", without_prefix(state), wanted, _copies)


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
    wanted = find_wanted(model, model.config.image_size, modules)
    return read(name, without_prefix(state), wanted, _copies)


def _network(name: str) -> tuple[nn.Module, Mapping[str, str]]:
    """Returns a network, and a module's path here to its name there."""
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


def _conv_norm(here: str, there: str) -> Iterator[tuple[str, str]]:
    yield f"{here}/conv", f"{there}0"
    yield f"{here}/norm", f"{there}1"


def _copies(key: str) -> Iterator[str]:
    """Yields where PyTorch lists a cell's tensor again."""
    cell, dot, name = key.rpartition(".cell.")
    if dot:
        yield from (f"{cell}.{copy}.{name}" for copy in _COPIES)
