import jax
import jax.numpy as jnp
import optax

from attokit.train.mesh import make_mesh
from attokit.train.state import abstract_state, init_state, place_state


def test_init_is_pure_and_starts_at_zero(network):
    state = jax.eval_shape(lambda p, s: init_state(p, s, optax.adam(0.1), seed=3), *network)
    assert (state.step.shape, state.step.dtype) == ((), jnp.int32)
    assert state.ema is None
    assert state.inference == (state.params, state.model_state)


def test_placed_state_owns_its_buffers(network):
    params, model_state = network
    state, _ = place_state(params, model_state, optax.sgd(0.1), make_mesh(), seed=0, ema=True)
    jax.tree.map(lambda leaf: leaf.delete(), (state.params, state.ema))
    assert float(params["head"]["bias"].sum()) == 0.0  # still alive
    assert state.inference is state.ema


def test_fsdp_splits_parameters_and_optimizer_alike(network):
    mesh = make_mesh(2, 4)
    state, shardings = place_state(*network, optax.adam(0.1), mesh, seed=0)
    kernel = state.params["hidden"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (16, 32)
    moment = state.opt_state[0].mu["hidden"]["kernel"]
    assert moment.sharding == kernel.sharding == shardings.params["hidden"]["kernel"]
    abstract = abstract_state(state)
    assert abstract.params["hidden"]["kernel"].sharding == kernel.sharding
