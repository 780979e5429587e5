import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.train.batch_statistics import _measure, reestimate_batch_stats
from attokit.train.forward import flax_forward, split_variables
from attokit.train.loader import TrainBatches
from attokit.train.mesh import make_mesh
from attokit.train.task import classification_task, unit_images
from attokit.zoo.batch_norm import BatchNorm

TASK = classification_task()


class _Net(nn.Module):
    """The zoo's norm and Flax's, of different momentum, the second behind the first."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = BatchNorm(use_running_average=not train, momentum=0.99, name="first")(x)
        x = nn.relu(nn.Conv(3, (3, 3), name="conv")(x))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="second")(x)
        return nn.Dense(3, name="head")(x.mean((1, 2)))


@pytest.fixture(scope="module")
def trained():
    variables = jax.jit(_Net().init)(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    return split_variables(variables)


def _reestimate(trained, dataset, **options):
    return reestimate_batch_stats(
        flax_forward(_Net()), *trained, dataset.split("train"), TASK, **options
    )


def test_statistics_of_several_batches_are_those_of_all_their_values(trained, dataset):
    state = _reestimate(trained, dataset, batches=3, batch_size=16, seed=5)
    batches = TrainBatches(dataset.split("train"), batch_size=16, steps=3, seed=5)
    images = [np.asarray(unit_images(batches[i]), np.float64) for i in range(3)]
    first, second = (state["batch_stats"][name] for name in ("first", "second"))
    pixels = np.concatenate(images)
    # 1 - momentum is known to a few float32 units of momentum: a millionth of it.
    np.testing.assert_allclose(first["mean"], pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(first["var"], pixels.var((0, 1, 2)), rtol=1e-5)
    # Each batch was normalized by its own statistics on the way to the second norm.
    params, values = trained[0], []
    for own in images:
        normed = (own - own.mean()) / np.sqrt(own.var() + 1e-3)
        hidden = nn.Conv(3, (3, 3)).apply(
            {"params": params["conv"]}, jnp.asarray(normed, jnp.float32)
        )
        values.append(np.maximum(np.asarray(hidden, np.float64), 0))
    np.testing.assert_allclose(second["mean"], np.concatenate(values).mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(second["var"], np.concatenate(values).var((0, 1, 2)), rtol=1e-4)
    assert first["var"].dtype == jnp.float32
    assert jax.tree.structure(state) == jax.tree.structure(trained[1])


@pytest.mark.slow
def test_devices_and_old_statistics_do_not_matter(trained, dataset):
    one = _reestimate(trained, dataset, batches=2, batch_size=16)
    old = jax.tree.map(lambda leaf: leaf + 3, trained[1])
    many = _reestimate((trained[0], old), dataset, batches=2, batch_size=16, mesh=make_mesh())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, many)
    again = _reestimate(trained, dataset, batches=2, batch_size=16)
    jax.tree.map(np.testing.assert_array_equal, one, again)


def test_nothing_to_measure(trained, dataset):
    params, state = trained
    with pytest.raises(ValueError, match="no batch norm whose statistics"):
        _reestimate((params, {}), dataset, batches=1)
    other = {"batch_stats": {**state["batch_stats"], "extra": {"count": jnp.zeros(())}}}
    with pytest.raises(ValueError, match="holds extra/count, which are no mean and var"):
        _reestimate((params, other), dataset, batches=1)
    with pytest.raises(ValueError, match="over 0 batches: give at least 1"):
        _reestimate(trained, dataset, batches=0)
    with pytest.raises(ValueError, match="batch size 20 does not divide by the 8 devices"):
        _reestimate(trained, dataset, batches=1, batch_size=20, mesh=make_mesh())


def test_statistics_that_do_not_move(trained, dataset):
    def still(params, model_state, inputs, *, train, key):
        statistics = model_state["batch_stats"]
        moved = jax.tree.map(lambda old: 0.5 * old, statistics["first"])
        state = {"batch_stats": statistics | {"first": moved}}
        return inputs.reshape(inputs.shape[0], -1)[:, :3], state

    with pytest.raises(ValueError, match=r"does not move the statistics of batch norms \(second\)"):
        reestimate_batch_stats(
            still, *trained, dataset.split("train"), TASK, batches=1, batch_size=16
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names(task="classification"))
def test_every_classifier_can_be_differentiated_for_it(name):
    """Gradients that are written out by hand have no forward mode, and must not be asked for it."""
    network = zoo.create(name)
    images = jax.ShapeDtypeStruct((2, *network.config.image_size), np.uint8)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *images.shape[1:])))
    params, state = split_variables(variables)
    forward = flax_forward(network)
    moved, kept = jax.eval_shape(
        lambda *arguments: _measure(forward, TASK, *arguments),
        params, state, {"images": images}, jax.ShapeDtypeStruct((), np.int32),
    )  # fmt: skip
    shapes = [jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (moved, kept)]
    assert shapes == [jax.tree.map(lambda leaf: leaf.shape, state["batch_stats"])] * 2
