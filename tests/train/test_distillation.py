import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.distillation import Teacher, distillation, distillation_loss
from attokit.train.mesh import make_mesh, put_batch
from attokit.train.optimizer import make_optimizer
from attokit.train.state import place_state
from attokit.train.step import compile_train_step, make_train_step
from attokit.train.task import classification_task


def test_divergence_by_hand():
    logits, teacher = jnp.array([[0.0, 0.0]]), jnp.array([[jnp.log(3.0), 0.0]])
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    np.testing.assert_allclose(distillation_loss(logits, teacher, 1.0), [expected], rtol=1e-5)
    np.testing.assert_allclose(distillation_loss(teacher, teacher, 3.0), [0.0], atol=1e-7)


@pytest.mark.slow
def test_size_of_the_gradient_does_not_depend_on_a_high_temperature():
    keys = jax.random.split(jax.random.key(0))
    logits, teacher = (jax.random.normal(key, (1, 5)) for key in keys)

    def slope(t):
        return jax.grad(lambda x: distillation_loss(x, teacher, t).sum())(logits)

    # Section 2.1: towards the difference of centred logits over k.
    difference = logits - logits.mean() - teacher + teacher.mean()
    np.testing.assert_allclose(slope(1000.0), difference / 5, atol=2e-3)


def _teacher(params, shape=3):
    def forward(params, model_state, inputs, *, train, key):
        assert not train
        return inputs.reshape(inputs.shape[0], -1)[:, :shape] @ params["w"], model_state

    return Teacher(name="big", forward=forward, params={"w": params}, model_state={})


def test_a_student_learns_what_its_teacher_says(forward, network, dataset):
    """Labels say nothing (weight 1): the loss goes down all the same, and the teacher stays."""
    weights = 8 * jax.random.normal(jax.random.key(5), (3, 3))
    teacher, optimizer, mesh = _teacher(weights), make_optimizer("adamw", 0.02), make_mesh(1, 2)
    state, shardings = place_state(*network, optimizer, mesh, seed=0)
    pure = make_train_step(
        forward, classification_task(), optimizer, further_loss=distillation(teacher, 1.0, 2.0)
    )
    step = compile_train_step(pure, mesh, shardings, constants=teacher.variables)
    batch = dataset.split("train").read(np.arange(32))
    losses = []
    for _ in range(20):
        state, metrics = step(state, put_batch(batch, mesh))
        losses.append(float(metrics["loss"].compute()))
    assert losses[-1] < 0.5 * losses[0]
    np.testing.assert_array_equal(teacher.params["w"], weights)


def test_other_outputs():
    teacher = _teacher(jnp.ones((4, 4)), 4)
    further = distillation(teacher, 0.5, 1.0)
    with pytest.raises(ValueError, match=r"teacher big gives \[2, 4\], the network \[2, 3\]"):
        further(jnp.zeros(2), jnp.zeros((2, 3)), jnp.ones((2, 2, 2, 1)), teacher.variables)
