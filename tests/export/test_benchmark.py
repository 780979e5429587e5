import os

import numpy as np
import pytest

from attokit.export.benchmark import Timing, _ratios, benchmark, pinned


def test_a_file_against_itself_takes_as_long(small):
    found = benchmark(small.file, small.file, kernels="reference", rounds=12)
    assert len(found.seconds) == 2
    for timing in (*found.seconds, found.ratio):
        assert 0 < timing.lower <= timing.median <= timing.upper
    assert 0.3 < found.ratio.median < 3  # a machine that is busy with other things
    assert "ratio" in str(found) and "reference" in str(found)
    assert found.rounds == 12


def test_one_file(small):
    found = benchmark(small.file, rounds=2)
    assert found.ratio is None and found.rounds == 2
    assert "ratio" not in str(found)


def test_quartiles():
    timing = Timing.of(np.arange(5.0))
    assert (timing.lower, timing.median, timing.upper) == (1, 2, 3)


def test_neither_the_order_of_runs_nor_that_of_loading_is_a_ratio():
    warm, cold = 1.0, 1.1
    rounds = np.tile([[warm, cold], [cold, warm]], (4, 1))  # as files take turns
    times = np.stack([rounds * [1.05, 1], rounds * [1, 1.05]])  # the first in memory is slower
    np.testing.assert_allclose(_ratios(times), 1)
    np.testing.assert_allclose(_ratios(times * [2, 1]), 2)
    assert _ratios(rounds[None, :1]) == [warm / cold]  # one round has one order only


def test_one_core_at_most_and_back(small):
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with pinned() as core:
        if core is not None:
            assert os.sched_getaffinity(0) == {core}
    if before is not None:
        assert os.sched_getaffinity(0) == before


def test_unfit_arguments(small):
    with pytest.raises(ValueError, match="3 files"):
        benchmark(*[small.file] * 3)
    with pytest.raises(ValueError, match="rounds is 0"):
        benchmark(small.file, rounds=0)
