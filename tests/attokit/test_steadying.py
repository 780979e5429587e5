import jax.numpy as jnp
import optax
import pytest

from attokit.learned_scales import Held
from attokit.oscillations import Dampened, Watched
from attokit.quant import QuantParams
from attokit.steadying import Steadying

KERNELS = {"k": QuantParams(jnp.float32(1), jnp.float32(0))}


def test_no_switch_is_no_change():
    optimizer = optax.sgd(0.1)
    assert Steadying().around(optimizer, KERNELS, 10) is optimizer
    assert Steadying().settings() == {}


def test_order_of_the_parts():
    own = Steadying(dampening=0.1, freeze_flips=(0.1, 0.01), freeze_scales_after=0.5)
    optimizer = own.around(optax.scale(1.0), KERNELS, 10)
    state = optimizer.init({"weights": {"k": jnp.ones((2, 1))}, "log_scales": {}})
    assert [type(part) for part in state] == [Dampened, optax.ScaleState, Held, Watched]
    assert own.settings() == {
        "dampening": 0.1, "freeze_flips": (0.1, 0.01), "flip_momentum": 0.005,
        "freeze_scales_after": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dampening": -1.0}, "dampening is -1.0: give a weight of 0"),
        ({"freeze_flips": (0.0, 0.5)}, "give shares between 0 and 1"),
        ({"freeze_flips": (0.01, 0.3)}, r"rise from 0.01 to 0.3, .* larger first \(0.3 0.01\)"),
        ({"freeze_flips": (0.1, 0.01), "flip_momentum": 0.01}, "a single flip would freeze"),
        ({"flip_momentum": 0.1}, "flip_momentum 0.1 changes nothing"),
        ({"flip_momentum": 1.0}, "give a share between 0 and 1"),
        ({"freeze_scales_after": 1.0}, "freeze_scales_after is 1.0: give a share between 0 and 1"),
    ],
)
def test_what_means_nothing(options, text):
    with pytest.raises(ValueError, match=text):
        Steadying(**options)


@pytest.mark.parametrize(("share", "steps"), [(0.96, 10), (0.5, 1)])
def test_scales_that_would_never_stay(share, steps):
    own = Steadying(freeze_scales_after=share)
    with pytest.raises(ValueError, match=f"{share} of {steps} steps leaves none .* smaller share"):
        own.around(optax.sgd(0.1), KERNELS, steps)
    own.around(optax.sgd(0.1), KERNELS, 20 * steps)


def test_a_graph_without_kernels():
    with pytest.raises(ValueError, match="no kernel in integers to steady"):
        Steadying(dampening=0.1).around(optax.sgd(0.1), {}, 10)
    optimizer = Steadying(freeze_scales_after=0.5).around(optax.scale(1.0), {}, 10)
    assert optimizer.init({"weights": {}, "log_scales": {}})[1] == Held(0)
