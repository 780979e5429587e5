"""Every activation of a file after one run, by name: what `verify` compares."""

import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export import flatbuffer, inspection, interpreters
from attokit.export.anatomy import Inspection
from attokit.export.memory_plan import PLAN_METADATA
from attokit.quant.ops.kind import Kernels


@dataclasses.dataclass(frozen=True, eq=False)
class Activations:
    """What a run left behind.

    Attributes:
      tensors: Every activation by its name in the file, inputs included.
      outputs: The file's outputs, in order, by the untouched file.
    """

    tensors: dict[str, np.ndarray]
    outputs: list[np.ndarray]


def activations(data: bytes, inputs: list[np.ndarray], kernels: Kernels) -> Activations:
    """Returns all activations of a run on inputs in the file's own types.

    LiteRT's reference kernels and TFLite Micro keep every tensor of the very file, but of one that says
    where its activations lie TFLite Micro runs a copy that does not: they lie over each other.  XNNPACK
    keeps what it computes to itself, so a copy of the file is run too in which every activation is an
    output.

    Args:
      data: The file.
      inputs: [b, ...], any batch that the file takes; TFLite Micro runs it in parts.
      kernels: Whose runtime.
    """
    info = inspection.inspect(data)
    # An empty constant (the shape of a number) has no data either, so what is made is looked for.
    made_here = {i for op in info.main.operators for i in op.outputs} | {*info.main.inputs}
    names = [(i, info.main.tensors[i].name) for i in sorted(made_here)]
    if kernels == "xnnpack":
        _, outputs = _runs(data, info, inputs, kernels, [])
        exposed = expose(data, info)
        wide = inspection.inspect(exposed)
        _, values = _runs(exposed, wide, inputs, kernels, [])
        made = [wide.main.tensors[i].name for i in wide.main.outputs]
        given = [info.main.tensors[i].name for i in info.main.inputs]
        pairs = [*zip(given, inputs, strict=True), *zip(made, values, strict=True)]
        return Activations(dict(pairs), outputs)
    if kernels == "micro" and PLAN_METADATA in info.metadata:
        data = _without(data, PLAN_METADATA)
    kept, outputs = _runs(data, info, inputs, kernels, [i for i, _ in names])
    return Activations({name: kept[i] for i, name in names if i in kept}, outputs)


def expose(data: bytes, info: Inspection) -> bytes:
    """Returns a copy of a file in which every activation is an output."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = info.main
    made = [i for op in graph.operators for i in op.outputs if not graph.tensors[i].constant]
    outputs = dict.fromkeys((*graph.outputs, *made))
    model.subgraphs[0].outputs = np.asarray(list(outputs), np.int32)
    model.signatureDefs = None
    return flatbuffer.pack(model, len(data))


def _without(data: bytes, entry: str) -> bytes:
    """Returns a copy of a file without an entry of its metadata."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.metadata = [other for other in model.metadata if other.name != entry.encode()]
    return flatbuffer.pack(model, len(data))


def _runs(
    data: bytes, info: Inspection, inputs: list[np.ndarray], kernels: Kernels, keep: list[int]
) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
    """Returns the kept tensors by position, and the outputs, of one or several runs."""
    batch = next((len(x) for x in inputs if x.ndim), 1)
    session, step = _session(data, info, kernels, bool(keep), batch)
    if batch % step:
        raise ValueError(f"{batch} examples do not fill batches of {step}; give a multiple")
    kept: dict[int, list[np.ndarray]] = {i: [] for i in keep}
    outputs: list[list[np.ndarray]] = []
    for start in range(0, batch, step):
        whole = batch == step  # then what has no batch axis goes in as it is
        part = inputs if whole else [x[start : start + step] if x.ndim else x for x in inputs]
        result = session.invoke(part)
        outputs.append([np.array(x) for x in result])
        for i in keep:
            kept[i].append(np.array(session.tensor(i)))
    return (
        {i: interpreters.joined(parts) for i, parts in kept.items()},
        [interpreters.joined(parts) for parts in zip(*outputs, strict=True)],
    )


def _session(
    data: bytes, info: Inspection, kernels: Kernels, keep: bool, batch: int
) -> tuple[interpreters.Session, int]:
    """Returns a loaded file and how many examples it takes at once: all, or else as many as it was made for."""
    session = interpreters.session(data, info, kernels, keep=keep)
    own = next((tensor.shape[0] for tensor in info.inputs.values() if tensor.shape), 1)
    if kernels == "micro" or batch == own or interpreters.holds_batch(info):
        return session, own
    try:
        session.resize(batch)
    except (
        RuntimeError,
        ValueError,
    ):  # a shape in the file depends on its batch, or LiteRT's SLICE is in it
        return interpreters.session(data, info, kernels, keep=keep), own
    return session, batch
