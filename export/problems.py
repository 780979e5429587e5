"""What a rule sees of an operator in a file, and what it finds wrong with it."""

import dataclasses

import numpy as np

from attokit.export.anatomy import OperatorInfo, Subgraph, TensorInfo


@dataclasses.dataclass(frozen=True)
class Problem:
    """What keeps something from where it should run.

    Attributes:
      what: Of the operator or file.
      cure: What to change; "" if there is nothing.
      uncertain: Whether it may well run there: the limit was never published in numbers.
    """

    what: str
    cure: str
    uncertain: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.cure}"


@dataclasses.dataclass(frozen=True)
class Seen:
    """An operator with its tensors at hand."""

    graph: Subgraph
    operator: OperatorInfo

    def input(self, place: int) -> TensorInfo | None:
        """Returns an input, or None if it is left out."""
        inputs = self.operator.inputs
        return (
            self.graph.tensors[inputs[place]]
            if place < len(inputs) and inputs[place] >= 0
            else None
        )

    def shape(self, place: int = 0) -> tuple[int, ...]:
        """Returns the shape of an input; () if it is left out."""
        tensor = self.input(place)
        return () if tensor is None else tensor.shape

    def dtype(self, place: int = 0) -> str:
        """Returns the type of an input; "" if it is left out."""
        tensor = self.input(place)
        return "" if tensor is None else tensor.dtype

    @property
    def output(self) -> TensorInfo:
        """The first output."""
        return self.graph.tensors[self.operator.outputs[0]]

    def option(self, name: str, default: int = 0) -> int:
        """Returns an option by the schema's name."""
        value = self.operator.options.get(name)
        return default if value is None else int(value)

    def numbers(self, place: int) -> np.ndarray | None:
        """Returns the values of a constant input."""
        tensor = self.input(place)
        return None if tensor is None else tensor.values()

    def axes(self) -> set[int] | None:
        """Returns the axes that a reduction takes, counted from the front; None if they are not known."""
        found = self.numbers(1)
        rank = len(self.shape())
        return None if found is None or not rank else {int(a) % rank for a in found.reshape(-1)}
