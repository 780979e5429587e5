"""Names of everything in a graph: weights by their path, activations by their layer."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax
import jax

from attokit.quant.graph import is_quantized
from attokit.quant.lowering.values import Known, Node, Symbol, UnsupportedOpError, Value
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op
from attokit.zoo import conv_norm, convolution

# Frames of these files are not the user's: the line that called them is.
_LIBRARIES = (
    os.path.dirname(__file__),
    os.path.dirname(flax.__file__),
    os.path.dirname(jax.__file__),
    convolution.__file__,
    conv_norm.__file__,
    contextlib.__file__,
    functools.__file__,
    "<",  # made by decorators that check types
)
_INSTALLED = ("/site-packages/equinox/", "/site-packages/haiku/")


def leaf_names(variables: Any) -> list[str]:
    """Returns "a/b/c" for each leaf of a pytree; a leading "params" is left out."""
    names = []
    for path, _ in jax.tree_util.tree_flatten_with_path(variables)[0]:
        if path[1:] and path[-1] == jax.tree_util.GetAttrKey(
            "value"
        ):  # an array in an nnx.Variable
            path = path[:-1]
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        names.append(name.removeprefix("params/") or "weight")
    return names


def input_names(inputs: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Returns the given names, checked, or "input", or "input_0", "input_1", ..."""
    if names is None:
        return ["input"] if len(inputs) == 1 else [f"input_{i}" for i in range(len(inputs))]
    if len(names) != len(inputs) or len(set(names)) != len(names):
        raise ValueError(
            f"{len(names)} input names {tuple(names)} for {len(inputs)} inputs; "
            "give each input a name of its own"
        )
    return list(names)


def output_names(paths: Sequence[Any]) -> tuple[str, ...]:
    """Returns the outputs' names in the signature: their path, or "output"."""
    if len(paths) == 1 and not paths[0]:
        return ("output",)
    names: list[str] = []
    for path in paths:
        name = jax.tree_util.keystr(path, simple=True, separator="_")
        name = f"output_{name}" if name[:1].isdigit() else name
        while name in names:  # {"a": (x, y), "a_0": z} spells one name twice
            name += "_"
        names.append(name)
    return tuple(names)


def source_line(eqn: Any) -> str:
    """Returns "file:line (function)" of the user's code that an equation came from."""
    traceback = eqn.source_info.traceback
    if traceback is None:
        return ""
    for frame in traceback.frames:
        name = frame.file_name
        if not name.startswith(_LIBRARIES) and not any(part in name for part in _INSTALLED):
            return f"{frame.file_name}:{frame.line_num} ({frame.function_name})"
    return ""


def joined_scope(outer: str, eqn: Any) -> str:
    """Returns the module path of an equation: named scopes of its callers and its own."""
    inner = str(eqn.source_info.name_stack)
    return "/".join(part for part in (outer, inner) if part)


class Names:
    """Hands out unique names, and remembers those of symbols.

    Attributes:
      shapes: Shape and dtype of every activation named so far.
    """

    def __init__(self, inputs: Mapping[str, Symbol]):
        self._taken: set[str] = set(inputs)
        self._numbers: dict[str, int] = {}
        self._symbols: dict[Symbol, str] = {symbol: name for name, symbol in inputs.items()}
        self.shapes: dict[str, tuple[tuple[int, ...], str]] = {
            name: (symbol.shape, str(symbol.dtype)) for name, symbol in inputs.items()
        }

    def of(self, value: Value) -> str:
        """Returns the name of a symbol that has one."""
        assert isinstance(value, Symbol), f"{value} is known: weights are named by their path"
        return self._symbols[value]

    def give(self, node: Node) -> tuple[str, ...]:
        """Names a node's outputs after its layer: where its weights are, or the scope it is in."""
        weights = (value.name for value in node.inputs if isinstance(value, Known))
        layer = next((name.rpartition("/")[0] for name in weights if name), "")
        if not layer:
            layer = "/".join(node.scope.split("/")[1:])  # the first part is the model's class
        return tuple(self._activation(symbol, layer, node.kind) for symbol in node.outputs)

    def _activation(self, symbol: Symbol, layer: str, kind: str) -> str:
        name = self._unique([layer, f"{layer}/{kind}".lstrip("/")])
        self._symbols[symbol] = name
        self.shapes[name] = (symbol.shape, str(symbol.dtype))
        return name

    def weight(self, path: str | None, role: str) -> str:
        """Returns a name for a weight: its leaf's path, or beside it where it is derived."""
        if path is None:
            return self._unique([f"constant/{role}"])
        return self._unique([path, f"{path.rpartition('/')[0]}/{role}".lstrip("/")])

    def _unique(self, candidates: Iterable[str]) -> str:
        candidates = [name for name in candidates if name]
        name = next((n for n in candidates if n not in self._taken), "")
        while not name or name in self._taken:
            base = candidates[-1]
            self._numbers[base] = self._numbers.get(base, 0) + 1
            name = f"{base}_{self._numbers[base]}"
        self._taken.add(name)
        return name


def to_op(node: Node, names: Names, operand: Callable[[Value, str], str]) -> Op:
    """Returns the op of a node whose kind a graph knows; the others are errors."""
    kind, where = table.OPS.get(node.kind), f" at {node.source}" if node.source else ""
    called = node.attributes["name"] if node.kind == "unary" else node.kind
    plain = [value for value in node.inputs if not is_quantized(value.dtype)]
    if plain and not (kind is not None and kind.moves):
        raise UnsupportedOpError(
            f"{called!r} of {plain[0].dtype}{where}: integers are indices here, which move values "
            "but are not computed with. Compute them outside of the graph, or as float32."
        )
    if kind is None:
        shapes = ", ".join(str(value.shape) for value in node.inputs)
        raise UnsupportedOpError(
            f"no graph op stands for {called!r} of shapes {shapes}{where}. "
            f"Supported ops: {', '.join(sorted(table.OPS))}."
        )
    roles = [role.value for role in kind.roles] + ["constant"] * len(node.inputs)
    inputs = tuple(operand(v, role) for v, role in zip(node.inputs, roles, strict=False))
    return Op(
        kind=node.kind,
        inputs=inputs,
        outputs=names.give(node),
        attributes=MappingProxyType(node.attributes),
        activation=node.activation,
        source=node.source,
    )
