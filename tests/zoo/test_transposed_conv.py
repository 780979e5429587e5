import numpy as np
from traced import jit, normal, variables_of

from attokit import zoo
from attokit.zoo.transposed_conv import TransposedConv


def test_both_spellings_put_every_cell_on_four():
    x = normal(2, 3, 2, 5)
    module, spelled = TransposedConv(4), TransposedConv(4, as_convolution=True)
    variables = variables_of(module, x)
    kernel, bias = (np.asarray(variables["params"][n]) for n in ("transposed_kernel", "bias"))
    want = np.zeros((2, 6, 4, 4))
    for i, j, a, b in np.ndindex(3, 2, 2, 2):
        want[:, 2 * i + a, 2 * j + b] = np.asarray(x)[:, i, j] @ kernel[a, b] + bias
    for layer in (module, spelled):
        np.testing.assert_allclose(jit(layer.apply)(variables, x), want, atol=1e-5)
        assert zoo.count_macs(layer.apply, variables, x) == 2 * 3 * 2 * 5 * 4 * 4
