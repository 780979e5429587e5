"""Nodes that are rewritten until they are ops, and how a rule is applied to all of them."""

from collections.abc import Callable

from attokit.quant.graph import Note
from attokit.quant.lowering.values import Builder, Node, Symbol, Value

Rule = Callable[[Node, Builder], Value | None]


class Program:
    """Nodes in execution order with the values that leave; passes change both.

    Attributes:
      nodes: In execution order.
      outputs: What the function returns.
      notes: What passes did.
    """

    def __init__(self, nodes: list[Node], outputs: list[Value]):
        self.nodes, self.outputs = nodes, outputs
        self.notes: list[Note] = []

    def uses(self) -> dict[Symbol, int]:
        """Returns how often each symbol is read, leaving included."""
        counts: dict[Symbol, int] = {}
        for value in [v for node in self.nodes for v in node.inputs] + self.outputs:
            if isinstance(value, Symbol):
                counts[value] = counts.get(value, 0) + 1
        return counts

    def drop_dead(self) -> None:
        """Removes nodes whose outputs nobody reads."""
        live: set[Symbol] = {v for v in self.outputs if isinstance(v, Symbol)}
        kept = []
        for node in reversed(self.nodes):
            if any(symbol in live for symbol in node.outputs):
                kept.append(node)
                live.update(v for v in node.inputs if isinstance(v, Symbol))
        self.nodes = kept[::-1]


def apply(program: Program, rule: Rule) -> None:
    """Replaces the output of each node for which the rule returns another value, and notes that."""
    replaced: dict[Symbol, Value] = {}

    def current(value: Value) -> Value:
        return replaced.get(value, value) if isinstance(value, Symbol) else value

    nodes: list[Node] = []
    for node in program.nodes:
        node.inputs = [current(value) for value in node.inputs]
        build = Builder(node.source, node.scope)
        result = rule(node, build)
        if result is None:
            nodes.append(node)
        else:
            nodes.extend(build.nodes)
            replaced[node.output] = result
            program.notes.append(Note(_headline(rule), node.source))
    program.nodes = nodes
    program.outputs = [current(value) for value in program.outputs]
    if replaced:
        program.drop_dead()


def _headline(rule: Rule) -> str:
    """Returns the first line of a rule's documentation."""
    return (rule.__doc__ or "").partition("\n")[0]
