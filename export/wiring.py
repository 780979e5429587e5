"""Who makes and who reads the tensors of a file, for passes that replace operators."""

import dataclasses
from collections.abc import Mapping, Sequence

from attokit.export.flatbuffer import Model, Operator, Tensor


class Wiring:
    """The operators around each tensor of a model.

    Attributes:
      makers: Of each tensor that an operator makes.
      leaving: Tensors that leave the model.
    """

    def __init__(self, model: Model):
        self.makers = {out: operator for operator in model.operators for out in operator.outputs}
        self.leaving = {tensor for _, tensor in model.outputs}
        self._readers: dict[Tensor, list[Operator]] = {}
        for operator in model.operators:
            for tensor in dict.fromkeys(operator.inputs):
                self._readers.setdefault(tensor, []).append(operator)

    def readers(self, tensor: Tensor) -> list[Operator]:
        """Returns the operators that read a tensor, in execution order."""
        return self._readers.get(tensor, [])

    def only_reader(self, tensor: Tensor) -> Operator | None:
        """Returns the one operator that reads a tensor which does not leave the model, or None."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and tensor not in self.leaving else None


def replaced(model: Model, changes: Mapping[Operator, Sequence[Operator]]) -> Model:
    """Returns the model with each operator that is a key replaced by others, maybe none."""
    operators = [new for old in model.operators for new in changes.get(old, (old,))]
    return dataclasses.replace(model, operators=tuple(operators))
