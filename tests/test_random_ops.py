"""Random graphs of each kind of op, in random scales, zero points and values: integers are the runtimes'.

    pytest -m slow tests/test_random_ops.py -n 16 --dist worksteal

tries 10,000 cases of each kind against each set of kernels; ATTOKIT_RANDOM_CASES says how many else.
"""

import os

import jax
import numpy as np
import pytest
from random_ops import KINDS
from single_op import differing_outputs

from attokit.quant.ops.table import OPS

_CASES = int(os.environ.get("ATTOKIT_RANDOM_CASES", "10000"))
_PARTS = 5  # of a kind, which run beside each other
_DRAWS = 400  # of scales, zero points and values, in a graph
# Not asked for by any function: QUANTIZE is tested in test_elementwise.py, DEQUANTIZE with it.
_BETWEEN_TYPES = {"quantize", "dequantize"}


def test_every_kind_that_runtimes_compute_on_integers_is_there():
    assert set(KINDS) == {kind for kind, row in OPS.items() if not row.only_float} - _BETWEEN_TYPES


def _cases(kind: str, part: int):
    """Yields (graph of the kind, draws, seed)."""
    count = -(-_CASES // _PARTS)
    for i, start in enumerate(range(0, count, _DRAWS)):
        seed = 1000 * part + i
        random = np.random.default_rng([seed, *kind.encode()])
        yield KINDS[kind](random), min(_DRAWS, count - start), seed


def _check(case, draws: int, seed: int) -> None:
    found = differing_outputs(case, draws, seed)
    bounds = OPS[case.kind].bounds
    beyond = {kernels: n for kernels, n in found.items() if n > bounds.get(kernels, 0)}
    assert not beyond, f"{beyond} in {case}, seed {seed}"


@pytest.mark.parametrize("kind", ["maximum"])  # the quickest to compile
def test_every_element_equals_the_runtimes(kind):
    case, _, seed = next(_cases(kind, 0))
    _check(case, 5, seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_every_element_equals_the_runtimes_in_random_cases(kind, part):
    for case, draws, seed in _cases(kind, part):
        _check(case, draws, seed)
    jax.clear_caches()
