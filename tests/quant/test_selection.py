import jax
import jax.numpy as jnp
import optax
import pytest

from attokit import quant
from attokit.quant.selection import matching

QPARAMS = {
    name: quant.QuantParams(scale, jnp.float32(0))
    for name, scale in {
        "input": jnp.float32(1),
        "stem": jnp.float32(2),
        "stem/kernel": jnp.ones(3),
        "head": jnp.float32(4),
    }.items()
}


def _learned(**patterns):
    mask = quant.trainable(QPARAMS, **patterns)
    assert jax.tree.structure(mask) == jax.tree.structure(QPARAMS)
    return {name for name, entry in mask.items() if entry.scale}


def test_patterns_choose_what_is_learned():
    assert _learned() == set(QPARAMS)
    assert _learned(learn=["stem*"]) == {"stem", "stem/kernel"}
    assert _learned(freeze=["input", "*/kernel"]) == {"stem", "head"}
    assert _learned(learn=["stem*", "head"], freeze=["stem"]) == {"stem/kernel", "head"}


def test_zero_points_of_kernels_are_never_learned():
    mask = quant.trainable(QPARAMS)
    assert not mask["stem/kernel"].zero_point
    assert mask["stem"].zero_point


def test_optax_takes_the_mask():
    mask = quant.trainable(QPARAMS, learn=["head"])
    labels = jax.tree.map(lambda learned: "learned" if learned else "frozen", mask)
    optimizer = optax.multi_transform(
        {"learned": optax.sgd(1.0), "frozen": optax.set_to_zero()}, labels
    )
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, QPARAMS), optimizer.init(QPARAMS))
    assert float(updates["head"].scale) == -1
    assert not updates["stem/kernel"].scale.any()


@pytest.mark.parametrize("option", ["learn", "freeze"])
def test_a_pattern_that_matches_nothing_is_refused(option):
    with pytest.raises(ValueError, match=r"no range fits 'steam/kernel'; there are .*stem/kernel"):
        quant.trainable(QPARAMS, **{option: ["steam/kernel"]})


def test_matching_wants_a_fit_for_every_pattern():
    assert matching(["a/b", "a/c", "d"], ["a/*", "d"]) == {"a/b", "a/c", "d"}
    assert matching([], ["*"]) == set()
    with pytest.raises(ValueError, match=r"no tensor that an op makes fits 'e\*'; there are a, b"):
        matching(["a", "b"], ["e*"])
