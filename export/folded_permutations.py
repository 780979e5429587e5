"""Transposes and channel shuffles, folded into the weights beside them.

A chain of RESHAPE, TRANSPOSE and GATHER that only reorders channels is the same as a reordered kernel: of the
convolution before it, whose channels come out in the other order; or of those behind it, which read them in
the old one. A depthwise convolution between is reordered with its channels. Where neither side has weights, a
1x1 convolution with a single 1 in each row does it: no more arithmetic than a copy, with the same integers.
A chain before dense layers, such as one that flattens channels first, reorders their columns.
"""

import dataclasses
import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Model, Operator, Quantization, Tensor
from attokit.export.grouped_convolutions import rows_of
from attokit.export.pointwise import pointwise
from attokit.export.wiring import Wiring, replaced

_LARGEST = 1 << 24  # elements of a chain; what is larger stays as it is
_CODES = schema.BuiltinOperator
_MOVING = (_CODES.RESHAPE, _CODES.TRANSPOSE, _CODES.GATHER)


def fold_permutations(model: Model) -> Model:
    """Returns the model without the chains that can be folded."""
    while (changed := _without_one(model)) is not None:
        model = changed
    return model


@dataclasses.dataclass(frozen=True, eq=False)
class _Chain:
    """Operators that only move one tensor's elements: `end` is `start.reshape(-1)[positions]`."""

    operators: tuple[Operator, ...]
    positions: np.ndarray

    @property
    def start(self) -> Tensor:
        return self.operators[0].inputs[0]

    @property
    def end(self) -> Tensor:
        return self.operators[-1].outputs[0]

    def channels(self) -> np.ndarray | None:
        """Returns which channel each channel is taken from; None if more than channels move."""
        if self.start.shape != self.end.shape:
            return None
        count = self.start.shape[-1]
        rows = self.positions.reshape(-1, count)
        order = rows[0]
        first = count * np.arange(len(rows))[:, None]
        return order if order.max() < count and (rows == first + order).all() else None


def _without_one(model: Model) -> Model | None:
    """Returns the model with one chain less, or None."""
    wiring = Wiring(model)
    for operator in model.operators:
        chain = _chain(operator, wiring)
        if chain is None:
            continue
        order = chain.channels()
        if order is None:
            changes = _into_dense(chain, wiring)
        elif (order == np.arange(len(order))).all():
            continue
        else:
            changes = _back(chain, order, wiring) or _forth(chain, order, wiring) or _as_convolution(chain, order)  # fmt: skip
        if changes:
            return replaced(model, changes)
    return None


def _chain(first: Operator, wiring: Wiring) -> _Chain | None:
    """Returns the longest chain that starts with an operator; None if it moves nothing."""
    before = wiring.makers.get(first.inputs[0]) if first.inputs else None
    inner = before is not None and _moves(before) and wiring.only_reader(first.inputs[0]) is first
    if not _moves(first) or inner or math.prod(first.inputs[0].shape) > _LARGEST:
        return None
    operators, values = [first], np.arange(math.prod(first.inputs[0].shape), dtype=np.int32)
    values = _moved(first, values.reshape(first.inputs[0].shape))
    while (following := wiring.only_reader(operators[-1].outputs[0])) is not None:
        if not _moves(following) or following.inputs[0] is not operators[-1].outputs[0]:
            break
        operators.append(following)
        values = _moved(following, values)
    if all(operator.code == _CODES.RESHAPE for operator in operators):
        return None
    positions = values.reshape(-1)
    if not np.array_equal(np.sort(positions), np.arange(math.prod(first.inputs[0].shape))):
        return None  # it repeats or leaves out
    return _Chain(tuple(operators), positions)


def _moves(operator: Operator) -> bool:
    """Whether an operator only moves elements, by what is known."""
    if operator.code not in _MOVING:
        return False
    if operator.code == _CODES.RESHAPE:
        return True
    if operator.code == _CODES.GATHER and operator.options.batchDims:
        return False
    return len(operator.inputs) == 2 and operator.inputs[1].data is not None


def _moved(operator: Operator, values: np.ndarray) -> np.ndarray:
    if operator.code == _CODES.RESHAPE:
        return values.reshape(operator.outputs[0].shape)
    numbers = operator.inputs[1].data
    assert numbers is not None
    if operator.code == _CODES.TRANSPOSE:
        return values.transpose(numbers)
    return values.take(numbers, axis=operator.options.axis)


def _back(chain: _Chain, order: np.ndarray, wiring: Wiring) -> dict | None:
    """Folds into the convolution or dense layer before."""
    maker = wiring.makers.get(chain.start)
    if maker is None or wiring.only_reader(chain.start) is not chain.operators[0]:
        return None
    if not _is_ungrouped(maker) and maker.code != _CODES.FULLY_CONNECTED:
        return None
    if not _has_weights(maker):
        return None
    weights = tuple(rows_of(tensor, order) for tensor in maker.inputs[1:])
    changed = dataclasses.replace(maker, inputs=(maker.inputs[0], *weights), outputs=(chain.end,))
    return {maker: (changed,), **dict.fromkeys(chain.operators, ())}


def _forth(chain: _Chain, order: np.ndarray, wiring: Wiring) -> dict | None:
    """Folds into all that read the end; a depthwise convolution passes the rest of it on."""
    readers = wiring.readers(chain.end)
    if chain.end in wiring.leaving or not readers:
        return None
    gone = dict.fromkeys(chain.operators, ())
    inverse = np.argsort(order)
    if all(_reads_channels(reader, chain.end) for reader in readers):
        changes = {}
        for reader in readers:
            kernel = _with_columns(reader.inputs[1], inverse)
            inputs = (chain.start, kernel, *reader.inputs[2:])
            changes[reader] = (dataclasses.replace(reader, inputs=inputs),)
        return {**gone, **changes}
    (reader, *others) = readers
    if others or reader.code != _CODES.DEPTHWISE_CONV_2D or not _has_weights(reader):
        return None
    if reader.options.depthMultiplier != 1:
        return None
    kernel = _with_columns(reader.inputs[1], inverse)
    biases = tuple(rows_of(bias, inverse) for bias in reader.inputs[2:])
    output = reader.outputs[0]
    unordered = dataclasses.replace(output, name=f"{output.name}/unordered")
    changed = dataclasses.replace(
        reader, inputs=(chain.start, kernel, *biases), outputs=(unordered,)
    )
    return {**gone, reader: (changed, _gather(unordered, order, output))}


def _gather(source: Tensor, order: np.ndarray, target: Tensor) -> Operator:
    """Returns what reorders channels; another round folds it."""
    indices = Tensor(
        name=f"{target.name}/order", shape=order.shape, dtype="int32", data=order.astype(np.int32)
    )
    return Operator(
        code=_CODES.GATHER,
        version=2,
        options=schema.GatherOptionsT(axis=len(source.shape) - 1),
        inputs=(source, indices),
        outputs=(target,),
    )


def _as_convolution(chain: _Chain, order: np.ndarray) -> dict | None:
    """Replaces a chain by a 1x1 convolution."""
    start, end, count = chain.start, chain.end, len(order)
    if len(start.shape) != 4 or start.dtype not in ("int8", "float32"):
        return None
    kernel = np.zeros((count, count), np.int8)
    kernel[np.arange(count), order] = 1
    convolution = pointwise(start, end, f"{end.name}/order", kernel)
    first, *rest = chain.operators
    return {first: (convolution,), **dict.fromkeys(rest, ())}


def _into_dense(chain: _Chain, wiring: Wiring) -> dict | None:
    """Folds a chain into the columns of the dense layers that read its end, as one row."""
    readers = wiring.readers(chain.end)
    flat = math.prod(chain.end.shape) == chain.end.shape[-1]
    if chain.end in wiring.leaving or not readers or not flat:
        return None
    if not all(
        r.code == _CODES.FULLY_CONNECTED and r.inputs[0] is chain.end and _has_weights(r)
        for r in readers
    ):
        return None
    inverse = np.argsort(chain.positions)
    straight = dataclasses.replace(chain.end, name=f"{chain.end.name}/unordered")
    shape = np.asarray(chain.end.shape, np.int32)
    reshape = Operator(
        code=_CODES.RESHAPE,
        version=1,
        options=schema.ReshapeOptionsT(newShape=shape),
        inputs=(
            chain.start,
            Tensor(name=f"{straight.name}/shape", shape=shape.shape, dtype="int32", data=shape),
        ),
        outputs=(straight,),
    )
    changes: dict[Operator, tuple[Operator, ...]] = {}
    for reader in readers:
        inputs = (straight, _with_columns(reader.inputs[1], inverse), *reader.inputs[2:])
        changes[reader] = (dataclasses.replace(reader, inputs=inputs),)
    first, *rest = chain.operators
    return {first: (reshape,), **dict.fromkeys(rest, ()), **changes}


def _has_weights(operator: Operator) -> bool:
    return len(operator.inputs) > 1 and all(t.data is not None for t in operator.inputs[1:])


def _is_ungrouped(operator: Operator) -> bool:
    if operator.code != _CODES.CONV_2D:
        return False
    images, kernel = operator.inputs[:2]
    return images.shape[-1] == kernel.shape[-1]


def _reads_channels(operator: Operator, tensor: Tensor) -> bool:
    """Whether an operator multiplies all channels of a tensor with weights."""
    if operator.inputs[0] is not tensor or not _has_weights(operator):
        return False
    return _is_ungrouped(operator) or operator.code == _CODES.FULLY_CONNECTED


def _with_columns(kernel: Tensor, order: np.ndarray) -> Tensor:
    """Returns a kernel with its last axis, and scales along it, in another order."""
    assert kernel.data is not None
    changed = dataclasses.replace(kernel, data=kernel.data[..., order])
    scales = kernel.quantization
    last = len(kernel.shape) - 1
    if scales is None or scales.scale.size == 1 or scales.axis != last:
        return changed
    return dataclasses.replace(
        changed, quantization=Quantization(scales.scale[order], scales.zero_point[order], last)
    )
