import jax
import jax.numpy as jnp
import pytest

from attokit.train.recipes import RECIPES, find_recipe
from attokit.zoo import registry


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_names_a_model_that_can_be_built_and_fits_its_data(name):
    recipe = RECIPES[name]
    settings = registry.config(recipe.model, **recipe.overrides)
    model = registry.create(recipe.model, **recipe.overrides)
    image = jnp.zeros((1, *settings.image_size), jnp.float32)
    logits = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x)[0], jax.random.key(0), image
    )
    assert (logits.shape[0], logits.shape[-1]) == (1, settings.num_classes)
    assert recipe.config.total_steps(6000) > 0
    if not recipe.needs_folder:
        dataset = recipe.load(None)
        assert dataset.task == registry.task(recipe.model)
        assert dataset.image_shape == settings.image_size
        assert dataset.num_classes == settings.num_classes


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError, match="did you mean attonet_d_quickstart"):
        find_recipe("attonet_quickstart")
