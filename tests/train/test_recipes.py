import jax
import jax.numpy as jnp
import pytest

from attokit.train.recipes import RECIPES, find_recipe
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
