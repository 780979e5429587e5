import os

import numpy as np
import pytest

from attokit.export.benchmark import Timing, benchmark, pinned


def test_a_file_against_itself_takes_as_long(small):
    found = benchmark(small.file, small.file, kernels="reference", rounds=12)
    assert len(found.seconds) == 2
    for timing in (*found.seconds, found.ratio):
        assert 0 < timing.lower <= timing.median <= timing.upper
    assert 0.3 < found.ratio.median < 3  # a machine that is busy with other things
    assert "ratio" in str(found) and "reference" in str(found)


def test_one_file(small):
    found = benchmark(small.file, rounds=2)
    assert found.ratio is None
    assert "ratio" not in str(found)


def test_quartiles():
    timing = Timing.of(np.arange(5.0))
    assert (timing.lower, timing.median, timing.upper) == (1, 2, 3)


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
