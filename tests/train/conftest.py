import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.dataset import ArraySource, Dataset

SHAPE = (4, 4, 1)
NUM_CLASSES = 3


def _source(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, count).astype(np.int32)
    images = rng.integers(0, 60, (count, *SHAPE)) + 80 * labels[:, None, None, None]
    return ArraySource(images=images.astype(np.uint8), labels=labels)


@pytest.fixture
def dataset():
    """Three classes that differ by brightness; sizes that no batch divides."""
    return Dataset(
        name="tiny",
        class_names=("dark", "grey", "bright"),
        image_shape=SHAPE,
        splits={"train": _source(70, 1), "test": _source(21, 2)},
    )


def tiny_forward(params, model_state, inputs, *, train, key):
    """Two layers with a running mean of the inputs as state and a little noise in training."""
    mean = inputs.mean((0, 1, 2))
    if train:
        model_state = {"mean": 0.9 * model_state["mean"] + 0.1 * mean}
        inputs = inputs + 0.01 * jax.random.normal(key, inputs.shape)
    else:
        mean = model_state["mean"]
    x = (inputs - mean[None, None, None]).reshape(inputs.shape[0], -1)
    x = jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None])
    return x @ params["head"]["kernel"] + params["head"]["bias"][None], model_state


@pytest.fixture
def forward():
    return tiny_forward


@pytest.fixture
def network():
    """(params, model_state) of `tiny_forward`."""
    rng = np.random.default_rng(0)
    sizes = {"hidden": (16, 128), "head": (128, NUM_CLASSES)}
    params = {
        name: {
            "kernel": jnp.asarray(rng.normal(0, 0.2, size), jnp.float32),
            "bias": jnp.zeros(size[1], jnp.float32),
        }
        for name, size in sizes.items()
    }
    return params, {"mean": jnp.zeros(1, jnp.float32)}
