import jax
import numpy as np
import pytest
from traced import jit, kinds, normal, variables_of

from attokit import quant
from attokit.zoo.mask_head import MaskHead, MaskHeadConfig


@pytest.mark.parametrize("kind", ["dense", "separable"])
def test_masks_are_twice_the_region_in_both_spellings(kind):
    config = MaskHeadConfig(channels=6, convolutions=1, kind=kind, output_size=4)
    regions = normal(2, 4, 4, 3)
    head, spelled = MaskHead(config, 5), MaskHead(config, 5, conv_only=True)
    variables = variables_of(head, regions)
    masks = jit(head.apply)(variables, regions)
    assert masks.shape == (2, 8, 8, 5)
    np.testing.assert_allclose(
        jit(spelled.apply)(variables, regions), masks, atol=1e-5 * np.abs(masks).max()
    )
    found = kinds(quant.trace(spelled.apply, variables, regions[:1])[0])
    assert "transpose_conv" in found
    assert not {"depth_to_space", "reshape", "transpose"} & set(found)


def test_one_mask_for_all_classes():
    config = MaskHeadConfig(channels=2, convolutions=1, output_size=2, class_agnostic=True)
    head, regions = MaskHead(config, 5), normal(1, 2, 2, 3)
    masks, _ = jax.eval_shape(head.init_with_output, jax.random.key(0), regions)
    assert masks.shape == (1, 4, 4, 1)


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match="channels=0"):
        MaskHeadConfig(channels=0)
    with pytest.raises(ValueError, match="kind='wide': choose from dense, separable"):
        MaskHeadConfig(kind="wide")
