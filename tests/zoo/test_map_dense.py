import numpy as np
from traced import jit, normal, variables_of

from attokit.zoo.map_dense import MapDense


def test_both_spellings_are_one_function():
    x = normal(3, 2, 4, 5)
    module, spelled = MapDense(6), MapDense(6, as_convolution=True)
    variables = variables_of(module, x)
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    assert kernel.shape == (2, 4, 5, 6)
    want = np.einsum("thwc,hwcd->td", x, kernel) + bias
    for layer in (module, spelled):
        np.testing.assert_allclose(
            jit(layer.apply)(variables, x), want[:, None, None], atol=1e-5 * np.abs(want).max()
        )
