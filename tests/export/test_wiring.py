import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Model, Operator, Tensor
from attokit.export.wiring import Wiring, replaced


def _tensor(name):
    return Tensor(name=name, shape=(1, 2), dtype="float32")


def _relu(source, target):
    return Operator(
        code=schema.BuiltinOperator.RELU,
        version=1,
        options=None,
        inputs=(source,),
        outputs=(target,),
    )


def test_makers_readers_and_replacement():
    a, b, c, d = map(_tensor, "abcd")
    first, second, third = _relu(a, b), _relu(b, c), _relu(b, d)
    model = Model(
        operators=(first, second, third),
        inputs=(("a", a),),
        outputs=(("c", c), ("d", d)),
        signature="s",
        description="",
    )
    wiring = Wiring(model)
    assert wiring.makers[b] is first
    assert wiring.readers(b) == [second, third]
    assert wiring.only_reader(a) is first
    assert wiring.only_reader(b) is None
    assert wiring.leaving == {c, d}
    assert wiring.only_reader(c) is None
    fourth = _relu(b, c)
    changed = replaced(model, {second: (fourth,), third: ()})
    assert changed.operators == (first, fourth)
    assert np.array_equal(changed.operators[1].inputs, (b,))
