import numpy as np

from attokit.quant.lowering.values import Builder, Symbol
from attokit.quant.program import Program, apply
from attokit.quant.rewrite import rewrite

FLOAT = np.dtype("float32")


def test_dead_nodes_are_dropped():
    build = Builder()
    x = Symbol((2,), FLOAT)
    kept, _ = build.emit("relu", [x], (2,)), build.emit("relu6", [x], (2,))
    program = Program(build.nodes, [kept])
    assert program.uses() == {x: 2, kept: 1}
    rewrite(program)
    assert [node.kind for node in program.nodes] == ["relu"]


def test_a_rule_replaces_what_it_knows_for_all_readers_and_is_noted():
    build = Builder("net.py:3 (f)")
    x = Symbol((2,), FLOAT)
    y = build.emit("relu6", [x], (2,))
    z = build.emit("abs", [y], (2,))

    def simpler(node, build):
        """A relu6 is a relu.

        It is not.
        """
        return build.emit("relu", node.inputs, (2,)) if node.kind == "relu6" else None

    program = Program(build.nodes, [z, y])
    apply(program, simpler)
    assert [node.kind for node in program.nodes] == ["relu", "abs"]
    assert program.nodes[1].inputs == [program.nodes[0].output] == program.outputs[1:]
    assert [(note.what, note.source) for note in program.notes] == [
        ("A relu6 is a relu.", "net.py:3 (f)")
    ]
