"""Learning rate over the steps of a run."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def warmup_cosine(
    peak: float, total_steps: int, *, warmup_fraction: float = 0.05, final_fraction: float = 0.0
) -> optax.Schedule:
    """Returns a linear rise from 0 to `peak`, then half a cosine down to a fraction of it.

    Raises:
      ValueError: if a fraction is outside [0, 1] or there is no step.
    """
    if total_steps < 1:
        raise ValueError(f"a schedule over {total_steps} steps: give at least one")
    for name, value in (("warmup_fraction", warmup_fraction), ("final_fraction", final_fraction)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}: give a number from 0 to 1")
    warmup_steps = min(round(total_steps * warmup_fraction), total_steps - 1)

    def schedule(step: Int[Array, ""] | int) -> Float[Array, ""]:
        count = jnp.asarray(step, jnp.float32)
        progress = jnp.clip((count - warmup_steps) / (total_steps - warmup_steps), 0, 1)
        cosine = final_fraction + (1 - final_fraction) * (1 + jnp.cos(jnp.pi * progress)) / 2
        return peak * jnp.where(count < warmup_steps, count / max(warmup_steps, 1), cosine)

    return schedule
