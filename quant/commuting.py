"""Puts sums, products and rectifiers in front of the reshapes and transpositions before them.

A dense layer over several axes is a product of matrices and a reshape; its bias comes after that.
Only next to the contraction does it fold, or fuse.
"""

from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer

CONTRACTIONS = ("conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv")
_AFFINE = ("add", "sub", "mul")
_RECTIFIERS = ("relu", "relu6", "relu_n1_to_1")
_MOVEMENTS = ("reshape", "transpose")


class Commuting:
    """A rewriting rule: nodes move to the contraction that their operand comes from.

    It is to see every node, in execution order.
    """

    def __init__(self, uses: dict[Symbol, int]):
        """Takes how often each symbol is read, and keeps that up to date."""
        self._uses = uses
        self._sources: set[Symbol] = set()  # contractions, with what will fold into them

    def __call__(self, node: Node, build: Builder) -> Value | None:
        """Returns what stands for the node's output, or None."""
        if node.kind in CONTRACTIONS:
            self._sources.add(node.output)
        symbols = [value for value in node.inputs if isinstance(value, Symbol)]
        if node.kind not in (*_AFFINE, *_RECTIFIERS) or len(symbols) != 1:
            return None
        source, path = self._source(symbols[0])
        if source is None or symbols[0].shape != node.output.shape:
            return None
        operands = [
            source if isinstance(value, Symbol) else _moved_back(value, symbols[0], path)
            for value in node.inputs
        ]
        if not path or any(value is None for value in operands):
            if not path and node.kind in _AFFINE:
                self._sources.add(node.output)
            return None
        inputs = [value for value in operands if value is not None]
        result = self._once(build.emit(node.kind, inputs, source.shape, **node.attributes))
        if node.kind in _AFFINE:
            self._sources.add(result)
        for movement in reversed(path):
            shape = movement.output.shape
            result = self._once(build.emit(movement.kind, [result], shape, **movement.attributes))
        self._uses[result] = self._uses.get(node.output, 0)
        return result

    def _once(self, symbol: Symbol) -> Symbol:
        self._uses[symbol] = 1
        return symbol

    def _source(self, value: Symbol) -> tuple[Symbol | None, list[Node]]:
        """Returns the contraction's output that a value is, moved, and the movements, last first."""
        path: list[Node] = []
        while self._uses.get(value) == 1:
            if value in self._sources:
                return value, path
            movement = producer(value, *_MOVEMENTS)
            if movement is None:
                break
            path.append(movement)
            (value,) = movement.inputs  # type: ignore[assignment]
        return None, path


def _moved_back(operand: Value, beside: Symbol, path: Sequence[Node]) -> Known | None:
    """Returns a known operand as it is before the movements; None unless it is one per channel."""
    assert isinstance(operand, Known)  # the only symbol is the other one
    entries = operand.entries()
    if entries.size and (entries == entries.flat[0]).all():
        return Known(operand.array.reshape(-1)[0].reshape(()), operand.name)

    def moved(array: np.ndarray) -> np.ndarray:
        array = np.broadcast_to(array, beside.shape)
        for movement in path:
            if movement.kind == "reshape":
                array = array.reshape(movement.inputs[0].shape)
            else:
                array = array.transpose(np.argsort(movement.attributes["permutation"]))
        return array

    array = moved(operand.array)
    vector = _per_channel(array, moved(entries), array.shape)
    return None if vector is None else Known(vector, operand.name)


def channel_vector(known: Known, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns the array as one float64 per last axis, or None if it varies along others, or may come to.

    Args:
      known: Broadcasts against the shape.
      shape: Of a contraction's output.
    """
    return _per_channel(known.array, known.entries(), shape)


def _per_channel(
    array: np.ndarray, entries: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray | None:
    channels = shape[-1]
    if array.ndim > len(shape) or any(n != 1 for n in array.shape[:-1]):
        if array.size == 0 or array.ndim > len(shape):
            return None
        rows = entries.reshape(-1, array.shape[-1])
        if not (rows == rows[:1]).all():
            return None
        array = array.reshape(-1, array.shape[-1])[0]
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (channels,))
