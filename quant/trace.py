"""From a pure JAX function to the graph that ships.

`jax.make_jaxpr` gives the function's primitives.  What depends on variables alone is computed here
and becomes the graph's weights; calls (jit, custom derivatives, remat, named scopes) are inlined; a
choice by platform takes its default branch; loops are unrolled (`quant.control`); every other
primitive is lowered (`quant.lowering`) and rewritten (`quant.rewrite`) into ops of `quant.ops`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeGuard

import jax
import numpy as np
from jaxtyping import Array, Float

from attokit.quant import naming
from attokit.quant.control import CONTROL
from attokit.quant.graph import Graph, Note, carried_type, is_quantized
from attokit.quant.lowering import known
from attokit.quant.lowering.primitives import CURES, LOWERINGS
from attokit.quant.lowering.values import (
    Builder,
    Known,
    Symbol,
    UnsupportedOpError,
    Value,
    WeightName,
    made_of,
)
from attokit.quant.ops.regions import COMPOSITES
from attokit.quant.program import Program
from attokit.quant.randomness import origin, refuse_drawn
from attokit.quant.ranges import assign_ranges
from attokit.quant.retyping import floating
from attokit.quant.rewrite import rewrite
from attokit.zoo import composite

_SHUT = np.finfo(np.float32).tiny  # below it a logistic and its gradient are 0 in float32
_PLAIN = (np.dtype(np.int32), np.dtype(np.bool_))  # inputs that stay as they are
_INLINED = ("call_jaxpr", "jaxpr", "fun_jaxpr")
_PRODUCTS = frozenset({"conv_general_dilated", "dot_general", "mul"})
# Steps after which all entries of a weight are there in their order.
_KEEPS_ENTRIES = frozenset(
    {
        "broadcast_in_dim",
        "convert_element_type",
        "copy",
        "expand_dims",
        "reshape",
        "squeeze",
        "stop_gradient",
    }
)
_CALLS = frozenset(
    {
        "checkpoint",
        "closed_call",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "jit",
        "pjit",
        "remat",
        "remat2",
    }
)


def trace(
    function: Callable[..., Any],
    variables: Any,
    *inputs: Any,
    input_names: Sequence[str] | None = None,
) -> tuple[Graph, dict[str, Float[Array, "..."]]]:
    """Returns the function's graph and the weights that it runs on.

    Any pure function `f(variables, *inputs)` will do.  Batch norm, scales and shifts after a
    convolution or dense layer are folded into it, activations are fused; weights are named after
    the leaves that they come from ("stem/conv/kernel").

    Args:
      function: Pure; its inference form (`model.apply`, `functools.partial(f, train=False)`).
      variables: A pytree of arrays, usually {"params": ..., "batch_stats": ...}.
      *inputs: Example inputs (arrays or `jax.ShapeDtypeStruct`), float, or int32 and bool for
        indices and conditions; their shapes are final; the graph takes other batches, the file has
        the batch of the example.
      input_names: Names of the inputs in the file's signature; "input" or "input_0", ... if None.

    Raises:
      UnsupportedOpError: if the function holds an op that no graph op stands for, or draws random
        numbers; it names the op and the line in the user's source.
      ValueError: if an input is of another type, or nothing is returned.
    """
    names = naming.input_names(inputs, input_names)
    _check_inputs(names, inputs)
    leaves, restored = _arrays(variables)
    closed, shapes = jax.make_jaxpr(
        lambda arrays, *values: function(restored(arrays), *values), return_shape=True
    )([leaf.array for leaf in leaves], *inputs)
    symbols = [Symbol(tuple(x.shape), np.dtype(x.dtype)) for x in inputs]
    build = Builder()
    outputs = _interpret(build, closed.jaxpr, closed.consts, [*leaves, *symbols])
    refuse_drawn(outputs)
    if not outputs:
        raise ValueError("the function returns nothing (None or an empty tree); return an array")
    program = Program(build.nodes, outputs)
    program.notes += [Note(*note) for note in build.notes]
    rewrite(program)
    _give_outputs_tensors(program)
    _mark_parted_batches(program, symbols)
    return _freeze(program, dict(zip(names, symbols, strict=True)), shapes)


def _arrays(variables: Any) -> tuple[list[Known], Callable[[list[Any]], Any]]:
    """Returns the arrays among a pytree's leaves, and how others take their places.

    What is no array (Equinox keeps functions and flags among the leaves) stays as it is.
    """
    leaves, tree = jax.tree.flatten(variables)
    names = naming.leaf_names(variables)
    places = [
        i for i, leaf in enumerate(leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")
    ]

    def restored(arrays: list[Any]) -> Any:
        values = dict(enumerate(leaves)) | dict(zip(places, arrays, strict=True))
        return jax.tree.unflatten(tree, values.values())

    return [Known(known.held(leaves[i]), WeightName(names[i])) for i in places], restored


def _check_inputs(names: Sequence[str], inputs: Sequence[Any]) -> None:
    for name, value in zip(names, inputs, strict=True):
        dtype = getattr(value, "dtype", None) if hasattr(value, "shape") else None
        if dtype is None or not (is_quantized(dtype) or np.dtype(dtype) in _PLAIN):
            raise ValueError(
                f"input {name!r} is {dtype or type(value).__name__}; trace with float arrays "
                "(images in [0, 1]: the file may still take bytes), or with int32 for indices"
            )


def _interpret(
    build: Builder, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Value]
) -> list[Value]:
    """Runs a jaxpr on values that are known or symbolic; returns its outputs."""
    environment: dict[Any, Value] = dict(zip(jaxpr.invars, arguments, strict=True))
    for variable, constant in zip(jaxpr.constvars, constants, strict=True):
        environment[variable] = (
            constant if isinstance(constant, Known | Symbol) else Known(known.held(constant))
        )

    def read(atom: Any) -> Value:
        if hasattr(atom, "val"):
            return Known(np.asarray(atom.val, atom.aval.dtype))
        return environment[atom]

    for eqn in jaxpr.eqns:
        results = _equation(build, eqn, [read(atom) for atom in eqn.invars])
        environment.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(build: Builder, eqn: Any, operands: list[Value]) -> list[Value]:
    """Returns the values of one equation: computed, inlined or lowered."""
    name = eqn.primitive.name
    if name == "platform_index":
        return [Known(np.asarray(len(eqn.params["platforms"]) - 1, np.int32))]
    if name in _CALLS:
        inner = next(eqn.params[key] for key in _INLINED if key in eqn.params)
        with _located(build, eqn):
            return _call(build, inner, operands)
    # A loop over what is known is for JAX; a branch not taken may not even compile here.
    if name in CONTROL and (name == "cond" or not _all_known(operands)):
        refuse_drawn(operands)
        with _located(build, eqn):
            return CONTROL[name](build, functools.partial(_call, build), eqn.params, operands)
    if _all_known(operands):
        weight = _made_by(eqn, operands)
        given = [o.array if weight is None or o.name else o.repeated() for o in operands]
        arrays = known.evaluate(eqn, given)
        with _located(build, eqn):
            drawn = origin(build, eqn, operands)
        if name == "logistic" and _saturated(arrays[0]):
            return [Known(np.round(arrays[0]), None, drawn)]
        several = weight is not None and len(arrays) > 1
        names = [weight.after(i) if several else weight for i in range(len(arrays))]  # type: ignore[union-attr]
        return [Known(array, own, drawn) for array, own in zip(arrays, names, strict=True)]
    refuse_drawn(operands)
    with _located(build, eqn):
        if name == composite.NAME:
            return _composite(build, eqn, operands)
        return _lower(build, eqn, operands)


def _made_by(eqn: Any, operands: Sequence[Known]) -> WeightName | None:
    """Returns the name of what an equation makes of weights, that of the first; None if there are none."""
    name = next((constant.name for constant in operands if constant.name is not None), None)
    if name is None:
        return None
    if eqn.primitive.name in _PRODUCTS and any(
        o.name is None and not o.array.any() for o in operands
    ):
        return None  # zeros, whatever the weight
    name = name if isinstance(name, WeightName) else WeightName(name)
    kind, whole = eqn.primitive.name, eqn.outvars[0].aval.size == operands[0].array.size
    permuted = kind == "reshape" and eqn.params["dimensions"] is not None
    if kind in _KEEPS_ENTRIES and whole and not permuted:
        return name
    return name.after(kind, repr(eqn.params), [o.history for o in operands])


def _saturated(gates: np.ndarray) -> bool:
    """Whether logistics of weights are so close to 0 and 1 that training cannot move them: constants then."""
    return bool(np.all((gates < _SHUT) | (gates == 1)))


def _composite(build: Builder, eqn: Any, operands: list[Value]) -> list[Value]:
    """Returns the values of a composite of the zoo: one op where there is a kind by its name."""
    name = eqn.params["name"]
    if name not in COMPOSITES:
        return _call(build, eqn.params["jaxpr"], operands)
    results = [(tuple(v.aval.shape), np.dtype(v.aval.dtype)) for v in eqn.outvars]
    build.scope = ""  # its own name says enough
    settings = MappingProxyType(dict(eqn.params["settings"]))
    batched = eqn.params["batched"]
    return [*build.emit_several(name, operands, results, settings=settings, batched=batched)]


def _all_known(operands: list[Value]) -> TypeGuard[list[Known]]:
    return all(isinstance(operand, Known) for operand in operands)


def _call(build: Builder, inner: Any, operands: Sequence[Value]) -> list[Value]:
    """Interprets a jaxpr, closed or not."""
    jaxpr, held = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
    return _interpret(build, jaxpr, held, operands)


@contextlib.contextmanager
def _located(build: Builder, eqn: Any) -> Iterator[None]:
    """Lets nodes and errors name an equation's line and module."""
    outer = build.source, build.scope
    build.source = naming.source_line(eqn) or build.source  # inside of a library's jit: its caller
    build.scope = naming.joined_scope(build.scope, eqn)
    yield
    build.source, build.scope = outer


def _lower(build: Builder, eqn: Any, operands: list[Value]) -> list[Value]:
    name = eqn.primitive.name
    if name not in LOWERINGS:
        raise build.error(
            f"no graph op stands for the JAX primitive {name!r}",
            CURES.get(name, f"Supported primitives: {', '.join(sorted(LOWERINGS))}."),
        )
    results = LOWERINGS[name](build, eqn.params, *operands)
    return list(results) if isinstance(results, list | tuple) else [results]


def _give_outputs_tensors(program: Program) -> None:
    """Copies constants that leave, and what leaves more than once: outputs are tensors of a file."""
    build = Builder(scope="function/output")
    left: list[Value] = []
    for value in program.outputs:
        if isinstance(value, Known) or any(value is earlier for earlier in left):
            keeps_batch = isinstance(value, Symbol) and bool(value.shape)
            shape = value.shape
            attributes = {"shape": shape, "given": shape, "keeps_batch": keeps_batch}
            value = build.emit("reshape", [value], shape, **attributes)
        left.append(value)
    program.nodes += build.nodes
    program.outputs = left


def _mark_parted_batches(program: Program, inputs: Sequence[Symbol]) -> None:
    """Notes which reshapes part the batch from what it was merged with: `parts`, of how many."""
    batches = {symbol.shape[0] for symbol in inputs if symbol.shape}
    if len(batches) != 1:
        return
    (batch,) = batches
    for node in program.nodes:
        if node.kind == "reshape" and node.attributes["given"] and node.output.shape[1:]:
            merged, (own, rows) = node.attributes["given"][0], node.output.shape[:2]
            if own == batch != merged and merged == own * rows:
                node.attributes["parts"] = rows
                node.attributes.pop("first", None)


def _freeze(program: Program, inputs: Mapping[str, Symbol], shapes: Any):
    """Returns the immutable graph of a program, and its weights."""
    names = naming.Names(inputs)
    weights: dict[str, Array] = {}
    constants: dict[str, np.ndarray] = {}
    arrays: dict[Any, str] = {}

    def operand(value: Value, role: str) -> str:
        if isinstance(value, Symbol):
            return names.of(value)
        # An unrolled loop makes the same array of a weight again in each step.
        own = id(value.array) if value.name is None else value.array.tobytes()
        key = (made_of(value.name), value.shape, str(value.dtype), own)
        if key not in arrays:
            name = names.weight(value.name, role)
            array = np.array(value.array, carried_type(value.dtype))
            if value.name is None or not is_quantized(array.dtype):
                constants[name] = array
            else:
                weights[name] = jax.numpy.asarray(array)
            arrays[key] = name
        return arrays[key]

    ops = []
    for node in program.nodes:
        op = naming.to_op(node, names, operand)
        ops.append(op)
    paths, out_tree = jax.tree_util.tree_flatten_with_path(shapes)
    graph = assign_ranges(
        inputs={names.of(symbol): symbol for symbol in inputs.values()},
        outputs=tuple(names.of(value) for value in program.outputs),
        output_names=naming.output_names([path for path, _ in paths]),
        ops=ops,
        shapes=names.shapes,
        constants=MappingProxyType(constants),
        weight_shapes=MappingProxyType({name: w.shape for name, w in weights.items()}),
        out_tree=out_tree,
        notes=tuple(program.notes),
    )
    return floating(graph), weights


__all__ = ["UnsupportedOpError", "trace"]
