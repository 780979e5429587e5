import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.dataset import ArraySource, Dataset
from attokit.train.forward import split_variables
from attokit.train.loader import TrainBatches
from attokit.train.loop import config_optimizer, config_step
from attokit.train.mesh import make_mesh, put_batch
from attokit.train.metrics import compute_metrics
from attokit.train.recipes import RECIPES, find_recipe
from attokit.train.state import place_state
from attokit.train.step import compile_train_step
from attokit.train.task_choice import task_for
from attokit.zoo import registry


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_names_a_model_that_can_be_built_and_fits_its_data(name):
    recipe = RECIPES[name]
    settings = registry.config(recipe.model, **recipe.overrides)
    model = registry.create(recipe.model, **recipe.overrides)
    image = jax.ShapeDtypeStruct((1, *settings.image_size), jnp.float32)
    outputs = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x)[0], jax.random.key(0), image
    )
    task = registry.task(recipe.model)
    if task == "instance_segmentation":  # it answers with chosen boxes, whatever the classes
        assert outputs["classes"].shape == (1, settings.detections.count)
    else:
        logits = outputs["scores"] if task == "detection" else outputs
        assert (logits.shape[0], logits.shape[-1]) == (1, settings.num_classes)
    assert recipe.config.total_steps(6000) > 0
    if not recipe.needs_folder:
        dataset = recipe.load(None)
        assert dataset.task == registry.task(recipe.model)
        assert dataset.image_shape == settings.image_size
        assert dataset.num_classes == settings.num_classes


def _generated(recipe):
    """Returns data of the shape that a recipe reads."""
    settings, rng = registry.config(recipe.model, **recipe.overrides), np.random.default_rng(0)
    size, classes, task = settings.image_size, settings.num_classes, registry.task(recipe.model)
    arrays = {"images": rng.integers(0, 256, (4, *size)).astype(np.uint8)}
    if task == "classification":
        arrays["labels"] = rng.integers(0, classes, 4).astype(np.int32)
    elif task == "segmentation":
        arrays["masks"] = rng.integers(0, classes, (4, *size[:2])).astype(np.uint8)
    else:
        corners = rng.integers(0, min(size[:2]) // 2, (4, 3, 2))
        sides = rng.integers(16, min(size[:2]) // 2, (4, 3, 2))
        arrays["boxes"] = np.concatenate([corners, corners + sides], -1).astype(np.float32)
        arrays["box_labels"] = rng.integers(0, classes, (4, 3)).astype(np.int32)
        if task == "instance_segmentation":
            arrays["instance_masks"] = rng.integers(0, 256, (4, 3, 56, 56)).astype(np.uint8)
    return Dataset(
        name="generated",
        class_names=tuple(map(str, range(classes))),
        image_shape=size,
        splits={"train": ArraySource(**arrays)},
        task=task,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_two_steps_of_every_recipe(name):
    recipe = RECIPES[name]
    dataset = _generated(recipe)
    config = dataclasses.replace(recipe.config, epochs=None, steps=2, batch_size=2)
    model = registry.create(recipe.model, **recipe.overrides)
    task, optimizer = task_for(dataset, config, model), config_optimizer(config, 4)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *dataset.image_shape)))
    mesh = make_mesh(1)
    state, shardings = place_state(
        *split_variables(variables), optimizer, mesh, seed=0, ema=config.ema_decay is not None
    )
    pure = config_step(config, task.forward(model), task, optimizer)
    step = compile_train_step(pure, mesh, shardings)
    batches = TrainBatches(
        dataset.split("train"), batch_size=2, steps=2, seed=0, augment=config.augment
    )
    before = jax.tree.map(np.asarray, state.params)
    for index in range(2):
        batch = batches[index]
        task.check(batch)
        state, metrics = step(state, put_batch(batch, mesh))
    values = compute_metrics(metrics)
    assert np.isfinite(values["loss"]) and values["first_bad_step"] == -1
    changed = jax.tree.map(lambda a, b: (a != np.asarray(b)).any(), before, state.params)
    changed, before = jax.tree.leaves(changed), jax.tree.leaves(before)
    # A clipped gradient may move a scale of 1 by less than float32 holds; what starts at 0 holds any.
    assert np.mean(changed) > 0.75
    assert np.mean([c for a, c in zip(before, changed, strict=True) if not a.any()]) > 0.9


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError, match="did you mean attonet_d_quickstart"):
        find_recipe("attonet_quickstart")
