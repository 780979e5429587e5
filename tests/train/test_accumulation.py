import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.accumulation import split_batch
from attokit.train.mesh import make_mesh, put_batch
from attokit.train.metrics import compute_metrics
from attokit.train.optimizer import make_optimizer
from attokit.train.state import place_state
from attokit.train.step import compile_train_step, make_train_step
from attokit.train.task import classification_task


def test_parts_interleave():
    parts = split_batch({"x": jnp.arange(6)}, 3)["x"]
    assert parts.tolist() == [[0, 3], [1, 4], [2, 5]]


def quiet_forward(params, model_state, inputs, *, train, key):
    """Two layers without noise or statistics of the batch."""
    x = inputs.reshape(inputs.shape[0], -1)
    x = jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None])
    logits = x @ params["head"]["kernel"] + params["head"]["bias"][None]
    return logits, {"mean": model_state["mean"] + float(train)}


@pytest.mark.parametrize("mesh", [pytest.param((1, 1), marks=pytest.mark.slow), (2, 2)])
def test_parts_equal_the_large_batch(network, dataset, mesh):
    task, optimizer = classification_task(), make_optimizer("adamw", 0.01, clip_norm=1.0)
    batch = dataset.split("train").read(np.arange(32))
    mesh = make_mesh(*mesh)
    results = []
    for parts in (1, 4):
        state, shardings = place_state(*network, optimizer, mesh, seed=0)
        step = make_train_step(quiet_forward, task, optimizer, parts=parts)
        compiled = compile_train_step(step, mesh, shardings)
        for _ in range(3):
            state, metrics = compiled(state, put_batch(batch, mesh))
        results.append((state, compute_metrics(metrics)))
    (whole, whole_metrics), (parted, parted_metrics) = results
    # Sums over the batch are taken in another order: a few float32 rounding steps.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        (whole.params, whole.opt_state),
        (parted.params, parted.opt_state),
    )
    assert parted_metrics == pytest.approx(whole_metrics, rel=1e-5)
    assert (float(whole.model_state["mean"][0]), float(parted.model_state["mean"][0])) == (3, 12)
