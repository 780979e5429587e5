import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit

from attokit.quant.ops.kind import Op
from attokit.quant.ops.regions import COMPOSITES
from attokit.quant.ops.table import OPS
from attokit.zoo.detections import DetectionConfig, detect
from attokit.zoo.mask_rcnn import select_masks
from attokit.zoo.proposals import ProposalConfig, propose
from attokit.zoo.roi_align import RegionConfig, read_regions

RANDOM = np.random.default_rng(0)
ANCHORS = np.asarray([[0, 0, 8, 8], [4, 4, 20, 20], [8, 0, 30, 16]], np.float32)
REGIONS = RegionConfig(
    output_size=2,
    sampling_ratio=1,
    strides=(4.0, 8.0),
    aligned=True,
    canonical_size=16.0,
    canonical_level=1,
)
SIZE, PROPOSALS, DETECTIONS = (24, 32), ProposalConfig(count=3), DetectionConfig(count=4)


def _normal(*shape):
    return jnp.asarray(RANDOM.normal(size=shape), jnp.float32)


def _computed(kind, operands, batched, **settings):
    op = Op(kind=kind, inputs=(), outputs=(), attributes={"settings": settings, "batched": batched})
    return jit(lambda *operands: OPS[kind].compute(op, *operands))(*operands)


def _equal(found, wanted):
    wanted = jax.tree.leaves(wanted)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_proposals_of_many_images():
    scores, offsets = _normal(2, 3), _normal(2, 3, 4)
    settings = {"counts": (2, 1), "image_size": SIZE, "config": PROPOSALS}

    def own(scores, offsets):
        return propose(
            scores, offsets, (ANCHORS[:2], ANCHORS[2:]), image_size=SIZE, config=PROPOSALS
        )

    many = (scores, offsets, jnp.asarray(ANCHORS))
    found = _computed("propose", many, (True, True, False), **settings)
    _equal(found, jit(jax.vmap(own))(scores, offsets))


@pytest.mark.slow
def test_detections():
    logits, offsets, valid = _normal(3, 4), _normal(3, 4, 4), jnp.asarray([True, False, True])
    operands = (logits, offsets, jnp.asarray(ANCHORS), valid)
    found = _computed("detect", operands, None, image_size=SIZE, config=DETECTIONS)
    own = functools.partial(detect, image_size=SIZE, config=DETECTIONS)
    _equal(found, jit(own)(*operands))


def test_regions_take_any_number_of_maps():
    maps = [_normal(6, 8, 3), _normal(3, 4, 3)]
    found = _computed("read_regions", (*maps, jnp.asarray(ANCHORS)), None, config=REGIONS)
    own = functools.partial(read_regions, config=REGIONS)
    _equal(found, jit(own)(maps, jnp.asarray(ANCHORS)))


def test_masks_of_classes():
    masks, classes = _normal(2, 3, 4, 4, 5), jnp.asarray(RANDOM.integers(5, size=(2, 3)))
    _equal(_computed("select_masks", (masks, classes), None), select_masks(masks, classes))


@pytest.mark.parametrize("kind", COMPOSITES)
def test_only_what_moves_values_has_integers(kind):
    assert OPS[kind].only_float == (kind != "select_masks")
    assert OPS[kind].tied == (kind == "select_masks")
