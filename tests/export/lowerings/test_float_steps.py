import jax.numpy as jnp
import numpy as np
from traced import normal

from attokit import quant
from attokit.export import flatbuffer, inspect, interpreters
from attokit.export.lowerings.context import Context
from attokit.export.lowerings.float_steps import FloatSteps


def _found(build, values):
    """Returns what steps make of a tensor, in LiteRT."""
    graph, weights = quant.trace(lambda _, x: jnp.tanh(x), {}, values)
    context = Context(graph, weights, None)
    steps = FloatSteps(context, graph.ops[0])
    entry = context.activation("input")
    results = build(steps, entry)
    file = flatbuffer.build(
        flatbuffer.Model(
            operators=tuple(steps.operators),
            inputs=(("input", entry),),
            outputs=tuple((str(i), tensor) for i, tensor in enumerate(results)),
            signature="serving_default",
            description="",
        )
    )
    session = interpreters.session(file, inspect(file), "xnnpack")
    found = [np.array(value) for value in session.invoke([np.asarray(values)])]
    for tensor, value in zip(results, found, strict=True):
        assert (tensor.shape, tensor.dtype) == (value.shape, str(value.dtype))
    return found


def test_steps_are_their_operators():
    x = normal(4, 6)

    def build(steps, entry):
        left, right = steps.columns(entry, 3)
        wide = steps.concatenate([steps.exp(left), steps.floor(right)], 1)
        best, places = steps.top_k(steps.reshape(steps.slice(entry, [1, 0], [1, 6]), (6,)), 3)
        chosen = steps.select(steps.less(entry, 0.0), entry, np.float32(-np.inf))
        taken = steps.gather(entry, steps.floor_div(places, 2))
        least = steps.least_of_rows(steps.sub(1.0, entry))
        return [wide, best, places, chosen, taken, least, steps.sum_of_rows(entry)]

    array = np.asarray(x)
    wide, best, places, chosen, taken, least, total = _found(build, x)
    order = np.argsort(-array[1], kind="stable")[:3]
    np.testing.assert_allclose(wide[:, :3], np.exp(array[:, :3]), rtol=1e-5)
    np.testing.assert_array_equal(wide[:, 3:], np.floor(array[:, 3:]))
    np.testing.assert_array_equal(best, array[1][order])
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(chosen, np.where(array < 0, array, -np.inf))
    np.testing.assert_array_equal(taken, array[order // 2])
    np.testing.assert_array_equal(least, (np.float32(1) - array).min(1))
    np.testing.assert_allclose(total, array.sum(1, keepdims=True), rtol=1e-5)


def test_equal_scores_keep_their_order():
    values = jnp.asarray([[1.0, 2.0, 1.0, 2.0, 2.0, 0.0, 1.0, 2.0]])

    def build(steps, entry):
        return list(steps.top_k(steps.reshape(entry, (8,)), 6))

    np.testing.assert_array_equal(_found(build, values)[1], [1, 3, 4, 7, 0, 2])
