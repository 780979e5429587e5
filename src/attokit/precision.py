"""Types and forms of ops as the command line takes them: patterns of names that are not int8, or opened."""

import dataclasses
import fnmatch
import glob
import json
from collections.abc import Iterable, Mapping

from attokit.quant import Graph, keep_float, open_hard_swish, widen
from attokit.quant.retyping import real_ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
    """What ops compute on; int8 where nothing fits.

    Attributes:
      int16: Patterns of names of ops with int16 activations ("head/*").
      int8: Patterns of those among them that stay int8, and of inputs that do.
      float32: Patterns of names of ops, and of inputs, that stay float32, whatever else is said.
      open_hard_swish: Patterns of names of hard swishes that become simpler ops.
    """

    int16: tuple[str, ...] = ()
    int8: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    open_hard_swish: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses exceptions from nothing."""
        if self.int8 and not self.int16:
            raise ValueError(
                f"int8 {', '.join(self.int8)} changes nothing: all is int8, but for what --int16 names"
            )

    def __bool__(self) -> bool:
        """Whether anything is named."""
        return bool(self.int16 or self.float32 or self.open_hard_swish)

    def apply(self, graph: Graph) -> Graph:
        """Returns the graph in these types.

        Raises:
          ValueError: if a pattern fits nothing (or no hard swish), all would be float32, or an op has no kernel for int16.
        """
        graph = open_hard_swish(graph, self.open_hard_swish) if self.open_hard_swish else graph
        graph = keep_float(graph, self.float32) if self.float32 else graph
        if self.float32 and not any(t.quantized for t in graph.tensors.values()):
            raise ValueError(
                f"float32 {', '.join(self.float32)} leaves nothing to quantize: attokit export --float "
                "writes float32 files, of which no more is asked"
            )
        return widen(graph, self.int16, keep=self.int8) if self.int16 else graph

    def fitting(self, graph: Graph) -> "Precision":
        """Returns this without patterns that fit nothing of a graph, as of one that ends otherwise."""
        names = [*real_ops(graph), *graph.inputs]
        kept = {
            field: tuple(p for p in patterns if fnmatch.filter(names, p))
            for field, patterns in dataclasses.asdict(self).items()
        }
        return Precision(**kept | ({} if kept["int16"] else {"int8": ()}))

    def settings(self) -> dict[str, list[str]]:
        """Returns what is named, for a JSON file."""
        return {name: list(v) for name, v in dataclasses.asdict(self).items() if v}

    def arguments(self) -> list[str]:
        """Returns what is named, as options of the command line."""
        return [
            word
            for name, patterns in self.settings().items()
            for word in (f"--{name.replace('_', '-')}", *patterns)
        ]

    def metadata(self) -> dict[str, str]:
        """Returns what is named, for the metadata of a file of weights."""
        return {name: json.dumps(value) for name, value in self.settings().items()}


def exactly(names: Iterable[str]) -> tuple[str, ...]:
    """Returns patterns that fit these names and no others."""
    return tuple(glob.escape(name) for name in names)


def precision_of(metadata: Mapping[str, str]) -> Precision:
    """Returns what `Precision.metadata` wrote.

    Raises:
      ValueError: if it is damaged.
    """
    names = [field.name for field in dataclasses.fields(Precision)]
    try:
        return Precision(**{n: tuple(json.loads(metadata[n])) for n in names if n in metadata})
    except (TypeError, json.JSONDecodeError) as err:
        raise ValueError(f"types of ops {dict(metadata)} are damaged: quantize again") from err
