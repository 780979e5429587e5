import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_detector import SIZE, images, model, traced
from traced import jit, normal

from attokit import quant
from attokit.quant.two_stage import REGIONS
from attokit.zoo.proposals import propose
from attokit.zoo.roi_align import read_regions


def test_what_is_no_two_stage_detector_is_refused():
    graph, _ = quant.trace(lambda v, x: x @ v, normal(3, 2), normal(1, 3))
    with pytest.raises(ValueError, match="0 propose, 0 read_regions, 0 detect"):
        quant.cut_two_stage(graph)


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"agnostic": False, "conv_only": True}])
def test_the_parts_are_what_the_whole_is_made_of(form):
    network, (variables, graph, weights) = model(**form), traced(**form)
    parts = quant.cut_two_stage(graph)
    assert not any(
        graph.is_float(op) for p in (parts.trunk, parts.box_head, parts.mask_head) for op in p.ops
    )
    assert parts.box_head.tensors[REGIONS].shape == (1, 5, 5, 16)
    assert parts.mask_head.tensors[REGIONS].shape == (1, 7, 7, 16)
    assert parts.image_size == SIZE

    def run(part, x):
        return part(parts.weights_of(part, weights), x)

    @jit
    def joined(pixels):
        said = run(parts.trunk, pixels)
        maps = tuple(said[f"map_{i}"] for i in range(4))
        one = functools.partial(
            propose,
            anchors_xyxy=network.config.anchors(SIZE),
            image_size=SIZE,
            config=parts.proposals,
        )
        found = jax.vmap(lambda s, o: one(s, o))(said["objectness"], said["offsets"])
        read = functools.partial(read_regions, config=parts.box_regions)
        regions = jax.vmap(read)(maps, found.boxes_xyxy)
        heads = run(parts.box_head, regions.reshape(-1, *regions.shape[2:]))
        b, t = found.valid.shape
        read = functools.partial(read_regions, config=parts.mask_regions)
        regions = jax.vmap(read)(maps, found.boxes_xyxy)
        masks = run(parts.mask_head, regions.reshape(-1, *regions.shape[2:]))["masks"]
        return (
            heads["classes"].reshape(b, t, -1),
            heads["offsets"].reshape(b, t, -1, 4),
            masks.reshape(b, t, *masks.shape[1:]),
        )

    @jit
    def whole(pixels):
        def stages(m, pixels):
            maps = m.extract(pixels)
            found = m.propose(*m.score_anchors(maps), image_size=SIZE)
            boxes = found.boxes_xyxy
            return (*m.classify_boxes(maps, boxes), m.segment_boxes(maps, boxes))

        return network.apply(variables, pixels, method=stages)

    pixels = jnp.asarray(images(2))
    for found, wanted in zip(joined(pixels), whole(pixels), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-4)
    # The whole graph takes several images too, although it was traced with one.
    found, wanted = (
        jit(graph.__call__)(weights, pixels),
        jit(network.apply)(variables, pixels),
    )
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=2e-4)
