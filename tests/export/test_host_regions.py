import dataclasses
import functools

import numpy as np
import pytest
from traced import jit

from attokit import zoo
from attokit.export import host_regions
from attokit.zoo.roi_align import RegionConfig, read_regions

RANDOM = np.random.default_rng(0)
EDGES = (
    [0, 0, 32, 32], [0, 0, 16, 16], [8, 8, 8, 8], [0, 0, 128, 96], [-64, -64, 0, 0],
    [100, 80, 140, 110], [0, 0, 31.99, 32], [20, 20, 10, 10],
)  # fmt: skip


@pytest.mark.parametrize("aligned", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_regions_are_those_of_the_zoo_at_every_border(aligned):
    config = RegionConfig(
        output_size=5,
        sampling_ratio=2,
        strides=(4.0, 8.0),
        aligned=aligned,
        canonical_size=32.0,
        canonical_level=1,
    )
    maps = [RANDOM.normal(size=(24 >> i, 32 >> i, 3)).astype(np.float32) for i in range(2)]
    low = RANDOM.uniform(-20, 110, (20, 2))
    boxes = np.concatenate([low, low + RANDOM.uniform(0, 90, low.shape)], 1)
    boxes = np.concatenate([boxes, EDGES]).astype(np.float32)
    found = host_regions.read_regions(maps, boxes, **dataclasses.asdict(config))
    wanted = jit(functools.partial(read_regions, config=config))(maps, boxes)
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_masks_are_pasted_as_in_the_zoo():
    masks = RANDOM.random((3, 6, 6)).astype(np.float32)
    boxes = np.asarray([[2.5, 1, 20, 12], [-4, -3, 5, 5], [7, 7, 7, 7]], np.float32)
    found = host_regions.paste_masks(masks, boxes, (16, 18))
    wanted = jit(functools.partial(zoo.paste_masks, image_size=(16, 18)))(masks, boxes)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert not found[2].any()
