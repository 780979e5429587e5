import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.dataset import ArraySource, Dataset
from attokit.train.recipes import RECIPES, find_recipe, train_recipe
from attokit.zoo.registry import create


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_names_a_model_that_can_be_built(name):
    recipe = RECIPES[name]
    model = create(recipe.model, **recipe.overrides)
    image = jnp.zeros((1, 28, 28, 1), jnp.float32)
    logits = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x)[0], jax.random.key(0), image
    )
    assert logits.shape == (1, 10)
    assert recipe.config.total_steps(6000) > 0


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError, match="did you mean attonet_d_quickstart"):
        find_recipe("attonet_quickstart")


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="needs the folder of its data"):
        train_recipe("attonet_d_fashion_mnist", tmp_path)


@pytest.mark.slow
def test_two_steps_of_the_quickstart(tmp_path, monkeypatch):
    recipe = RECIPES["attonet_d_quickstart"]
    images = np.zeros((16, 28, 28, 1), np.uint8)
    source = ArraySource(images=images, labels=np.arange(16, dtype=np.int32) % 10)
    dataset = Dataset(
        name="tiny",
        class_names=tuple("0123456789"),
        image_shape=(28, 28, 1),
        splits={"train": source, "test": source},
    )
    config = dataclasses.replace(
        recipe.config, epochs=None, steps=2, batch_size=16, eval_batch_size=16
    )
    short = dataclasses.replace(recipe, load=lambda folder: dataset, config=config)
    monkeypatch.setattr("attokit.train.recipes.RECIPES", {"short": short})
    assert int(train_recipe("short", tmp_path).state.step) == 2
