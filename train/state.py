"""The state of a run: everything that one step reads and writes, as one pytree."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from attokit.train.mesh import state_shardings


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """What a step takes and returns. A frozen pytree; the loop donates it to the step.

    Attributes:
      step: Steps taken, int32 scalar.
      params: What the optimizer changes.
      model_state: What the network changes itself, such as running statistics.
      opt_state: The optimizer's.
      ema: Moving average of `(params, model_state)`, or None.
      key: Raw data of the key from which every step folds its own.
    """

    step: PyTree
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    ema: PyTree
    key: PyTree

    @property
    def inference(self) -> tuple[PyTree, PyTree]:
        """The (params, model_state) to evaluate and ship: the average if there is one."""
        return self.ema if self.ema is not None else (self.params, self.model_state)


def init_state(
    params: PyTree,
    model_state: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    ema: bool = False,
) -> TrainState:
    """Returns the state before the first step. Pure: it may run under `jit` or `eval_shape`."""
    copy = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (params, model_state))
    return TrainState(
        step=jnp.int32(0),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(params),
        ema=copy if ema else None,
        key=jax.random.key_data(jax.random.key(seed)),
    )


def place_state(
    params: PyTree,
    model_state: PyTree,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    ema: bool = False,
) -> tuple[TrainState, PyTree]:
    """Returns the first state, spread over the mesh, and its shardings.

    Shapes come from `eval_shape`, so no device ever holds more than its share of the optimizer.
    """

    def create(params: PyTree, model_state: PyTree) -> TrainState:
        return init_state(params, model_state, optimizer, seed=seed, ema=ema)

    shardings = state_shardings(mesh, jax.eval_shape(create, params, model_state))
    # Without donation `jit` never returns a caller's own buffer, so the step may donate these.
    return jax.jit(create, out_shardings=shardings)(params, model_state), shardings


def abstract_state(state: TrainState) -> TrainState:
    """Returns shapes, dtypes and shardings of a state: what restoring a checkpoint needs."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
