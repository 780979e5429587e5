import numpy as np
import pytest

from attokit.export import inspect
from attokit.export.interpreters import check_kernels, session


@pytest.mark.parametrize("kernels", ["reference", "micro"])
def test_kept_tensors_are_there_after_a_run(small, kernels):
    info = inspect(small.file)
    loaded = session(small.file, info, kernels, keep=True)
    image = np.full((1, 9, 9, 3), 5, np.int8)
    (output,) = loaded.invoke([image])
    np.testing.assert_array_equal(loaded.tensor(info.main.inputs[0]), image)
    np.testing.assert_array_equal(loaded.tensor(info.main.outputs[0]), output)


def test_micro_has_one_batch(small):
    with pytest.raises(RuntimeError, match="no other batch"):
        session(small.file, inspect(small.file), "micro").resize(2)


def test_unknown_kernels_are_refused():
    with pytest.raises(ValueError, match="choose one of reference, micro, xnnpack"):
        check_kernels("ruy")
