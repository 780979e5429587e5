"""Files with operators in forms that Attokit does not write."""

from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Model, Operator, Tensor, build, pack

CODES = schema.BuiltinOperator


def step(code, inputs, output, options=None, version=1):
    """Returns an operator with one output."""
    return Operator(code=code, version=version, options=options, inputs=inputs, outputs=(output,))


def written(inputs, operators):
    """Returns a file of operators, whose last makes the output."""
    return build(
        Model(
            operators=tuple(operators),
            inputs=tuple((tensor.name, tensor) for tensor in inputs),
            outputs=tuple((tensor.name, tensor) for tensor in operators[-1].outputs),
            signature="serving_default",
            description="",
        )
    )


def changed(file, name, **fields):
    """Returns a file with other fields of a tensor, such as isVariable or type."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    (tensor,) = (t for t in model.subgraphs[0].tensors if t.name == name.encode())
    for field, value in fields.items():
        setattr(tensor, field, value)
    return pack(model, len(file))


__all__ = ["CODES", "Tensor", "changed", "schema", "step", "written"]
