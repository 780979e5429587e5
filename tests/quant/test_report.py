import flax.linen as nn
import jax
import jax.numpy as jnp
from traced import normal, variables_of

from attokit import quant


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = jnp.concatenate([x, nn.silu(x), nn.elu(x)], -1)
        return nn.softmax(nn.Dense(3)(nn.LayerNorm()(x.mean((1, 2)))))


X = normal(2, 6, 6, 3)
MODEL = Net()
GRAPH, _ = quant.trace(MODEL.apply, variables_of(MODEL, X), X)


def test_a_report_tells_what_became_of_a_function():
    report = quant.report(GRAPH)
    assert sum(map(len, report.ops.values())) == len(GRAPH.ops)
    assert {"conv_2d+relu", "softmax", "l2_normalization"} <= set(report.ops)
    folded = "A sum or product with constants per channel folds into the contraction before it."
    assert len(report.rewritten[folded]) >= 4  # bias, mean, factor, bias
    assert report.weights == dict(GRAPH.weight_shapes)
    assert set(report.tables.values()) >= {"logistic"}
    assert all(len(names) > 1 for names in report.tied.values())
    assert report.prescribed == dict(GRAPH.fixed_ranges)
    assert report.macs == GRAPH.macs()


def test_its_text_names_counts_and_lines():
    text = str(quant.report(GRAPH))
    assert text.startswith(f"{len(GRAPH.ops)} ops, {len(GRAPH.weight_shapes)} weights, ")
    assert "test_report.py:" in text
    assert "1 x conv_2d+relu" in text
    assert "A rectifier fuses into the op before it." in text
    assert len(text.splitlines()) < 60


def test_a_graph_without_ops_has_a_report():
    graph, _ = quant.trace(lambda _, x: x, (), X)
    assert str(quant.report(graph)) == "0 ops, 0 weights, 0 multiply-adds"


def test_functions_and_movements_are_reported():
    def function(_, x):
        return jax.nn.mish(jnp.flip(jnp.flip(x, 1), 1)[:, ::-1])

    graph, _ = quant.trace(function, (), normal(2, 4))
    told = str(quant.report(graph))
    assert "Elementwise arithmetic of one variable is an op of TFLite's, or a table." in told
    assert "What only moves one value takes fewer or cheaper ops." in told
