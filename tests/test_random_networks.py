"""Whatever the parts of networks are combined to: the graph is the function, the file is the graph."""

import os

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from random_networks import SHAPE, networks
from traced import normal

from attokit import export, quant
from attokit.quant.ops.kind import KERNELS

_MANY = int(os.environ.get("ATTOKIT_RANDOM_NETWORKS", "500"))
_PARTS = 5  # which run beside each other
IMAGES = normal(*SHAPE)
_SLOW = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(hypothesis.HealthCheck),
}


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """Networks are the users' code: types and ranks promote as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _check_float(network):
    variables = network.variables
    graph, weights = quant.trace(network, variables, IMAGES)
    wanted, found = network(variables, IMAGES), graph(weights, IMAGES)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale)


def _check_file(network, kernels="reference"):
    graph, weights = quant.trace(network, network.variables, IMAGES)
    hypothesis.assume(graph.ops)
    qparams = quant.calibrate(graph, weights, [(IMAGES,)], input_range=None)
    target = "micro" if kernels == "micro" else "android"
    data = export.to_tflite(graph, weights, qparams, target=target)
    report = export.verify(data, graph, weights, qparams, IMAGES, kernels=kernels)
    assert report.ok, report.summary


@settings(max_examples=4, **_SLOW)
@given(networks)
def test_a_graph_is_its_function(network):
    _check_float(network)


@settings(max_examples=3, **_SLOW)
@given(networks)
def test_a_file_is_its_graph(network):
    _check_file(network)


@pytest.mark.slow
@settings(max_examples=_MANY, **_SLOW)
@given(networks)
def test_graphs_are_their_functions_in_many_cases(network):
    _check_float(network)
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("kernels", KERNELS)
def test_files_are_their_graphs_in_many_cases(kernels, part):
    @hypothesis.seed(part)
    @settings(max_examples=_MANY // _PARTS, **{**_SLOW, "derandomize": False})
    @given(networks)
    def check(network):
        _check_file(network, kernels)
        jax.clear_caches()

    check()
