"""Small .tflite files as other tools write them, put together tensor by tensor."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export import flatbuffer


def _integers(values: Sequence[int]) -> np.ndarray:
    return np.asarray(values, np.int32)


@dataclasses.dataclass
class ForeignGraph:
    """A subgraph; what is added is known by its position."""

    file: "ForeignFile"
    name: str
    tensors: list[Any] = dataclasses.field(default_factory=list)
    operators: list[Any] = dataclasses.field(default_factory=list)
    inputs: Sequence[int] = ()
    outputs: Sequence[int] = ()

    def tensor(
        self,
        *shape: int,
        name: str | None = None,
        dtype: str = "float32",
        data: np.ndarray | None = None,
        buffer: int = 0,
        signature: Sequence[int] | None = None,
    ) -> int:
        """Adds a tensor, of the contents `data` or of those in a buffer that is there."""
        self.tensors.append(
            schema.TensorT(
                shape=_integers(shape),
                shapeSignature=None if signature is None else _integers(signature),
                type=getattr(schema.TensorType, dtype.upper()),
                buffer=buffer if data is None else self.file.buffer(data),
                name=name,
            )
        )
        return len(self.tensors) - 1

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> None:
        """Adds an operator by the schema's name; any other is a custom one."""
        name = "NONE" if options is None else type(options).__name__.removesuffix("T")
        newer = not hasattr(schema.BuiltinOptions, name)
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=self.file.code(kind),
                inputs=_integers(inputs),
                outputs=_integers(outputs),
                builtinOptionsType=0 if newer else getattr(schema.BuiltinOptions, name),
                builtinOptions=None if newer else options,
                builtinOptions2Type=getattr(schema.BuiltinOptions2, name) if newer else 0,
                builtinOptions2=options if newer else None,
            )
        )


class ForeignFile:
    """A file; what is added is known by its position."""

    def __init__(self) -> None:
        self._buffers, self._codes = [schema.BufferT()], []
        self._graphs: list[ForeignGraph] = []
        self._signatures: list[Any] = []

    def graph(self, name: str = "main") -> ForeignGraph:
        """Adds a subgraph."""
        self._graphs.append(ForeignGraph(self, name))
        return self._graphs[-1]

    def buffer(self, data: np.ndarray) -> int:
        """Adds contents of constants."""
        self._buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
        return len(self._buffers) - 1

    def code(self, kind: str) -> int:
        """Returns the position of a kind of operator."""
        number = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
        self._codes.append(
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(number, 127),
                builtinCode=number,
                version=1,
                customCode=kind if number == schema.BuiltinOperator.CUSTOM else None,
            )
        )
        return len(self._codes) - 1

    def signature(
        self, key: str, subgraph: int, inputs: dict[str, int], outputs: dict[str, int]
    ) -> None:
        """Adds a signature of a subgraph."""
        sides = (
            [schema.TensorMapT(name=name, tensorIndex=i) for name, i in side.items()]
            for side in (inputs, outputs)
        )
        self._signatures.append(schema.SignatureDefT(*sides, key, subgraph))

    def written(self) -> bytes:
        """Returns the file."""
        graphs = [
            schema.SubGraphT(
                name=graph.name, tensors=graph.tensors, operators=graph.operators,
                inputs=_integers(graph.inputs), outputs=_integers(graph.outputs),
            )
            for graph in self._graphs
        ]  # fmt: skip
        return flatbuffer.pack(
            schema.ModelT(
                version=3, buffers=self._buffers, operatorCodes=self._codes, subgraphs=graphs,
                signatureDefs=self._signatures,
            )
        )  # fmt: skip
