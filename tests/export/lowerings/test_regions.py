import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from single_op import REFERENCE_FIRST, Case, largest_difference

from attokit import export, quant
from attokit.quant.integer import interface_types
from attokit.zoo.anchors import anchor_boxes_xyxy
from attokit.zoo.detections import DetectionConfig, detect
from attokit.zoo.mask_rcnn import select_masks
from attokit.zoo.proposals import ProposalConfig, propose
from attokit.zoo.roi_align import RegionConfig, read_regions

KERNELS = ["reference", "xnnpack"]
SIZE = (96, 128)
ANCHORS = anchor_boxes_xyxy(
    [(12, 16), (6, 8)], steps=[(8, 8), (16, 16)], sizes=(24.0, 48.0), ratios=(0.5, 1.0, 2.0)
)
COUNT = sum(map(len, ANCHORS))
RANDOM = np.random.default_rng(0)


def _propose(_, objectness, offsets, **config):
    settings = ProposalConfig(**{"count": 40, "per_level": 100, **config})
    one = functools.partial(propose, anchors_xyxy=ANCHORS, image_size=SIZE, config=settings)
    return jax.vmap(one)(objectness, offsets)


def _detect(_, logits, offsets, boxes, **config):
    settings = DetectionConfig(**{"count": 20, "candidates": 90, **config})
    one = functools.partial(detect, image_size=SIZE, config=settings)
    valid = boxes[..., 2] > boxes[..., 0]
    return jax.vmap(one)(logits, offsets, boxes, valid)


def _read_regions(_, *maps_and_boxes, **config):
    levels = len(maps_and_boxes) - 1
    settings = RegionConfig(
        **{
            "output_size": 7,
            "sampling_ratio": 2,
            "strides": (4.0, 8.0, 16.0)[:levels],
            "aligned": True,
            "canonical_size": 32.0,
            "canonical_level": min(1, levels - 1),
            **config,
        }
    )
    read = functools.partial(read_regions, config=settings)
    return jax.vmap(lambda *x: read(x[:-1], x[-1]))(*maps_and_boxes)


def _select_masks(_, masks, classes):
    return select_masks(masks, classes)


CASES = {
    "detect": Case("detect", _detect, (), ((1, 30, 4), (1, 30, 4, 4), (1, 30, 4))),
    "propose": Case("propose", _propose, (), ((1, COUNT), (1, COUNT, 4))),
    "read_regions": Case(
        "read_regions", _read_regions, (), ((1, 24, 32, 3), (1, 12, 16, 3), (1, 9, 4))
    ),
    "select_masks": Case("select_masks", _select_masks, (), ((1, 3, 4, 4, 5), (1, 3)), below=(5,)),
}


def _files_equal_the_function(function, *inputs, tolerance=1e-5):
    """Checks both kernel sets: numbers to rounding, choices exactly; returns what the function gives."""
    wanted = jax.tree.leaves(jax.jit(functools.partial(function, None))(*inputs))
    graph, weights = quant.trace(function, {}, *inputs)
    file = export.to_tflite(graph, weights)
    for kernels in KERNELS:
        found = list(export.run(file, *map(np.asarray, inputs), kernels=kernels).values())
        for value, exact in zip(found, wanted, strict=True):
            assert value.dtype == exact.dtype
            if value.dtype == np.float32:
                np.testing.assert_allclose(value, exact, rtol=tolerance, atol=tolerance)
            else:
                np.testing.assert_array_equal(value, exact)
    return wanted


def _steps(*shape, of=8.0, reach=20):
    """Returns numbers among which many are equal, as dequantized ones are."""
    return jnp.asarray(RANDOM.integers(-reach, reach, shape) / of, jnp.float32)


def _boxes(count, spread=60.0, side=40.0):
    low = RANDOM.uniform(0, spread, (1, count, 2))
    return jnp.asarray(
        np.concatenate([low, low + RANDOM.uniform(0, side, low.shape)], -1), jnp.float32
    )


@pytest.mark.parametrize(
    "config",
    [
        {"iou_threshold": 0.5, "least_side": 6.0},
        pytest.param({"count": 9, "per_level": 11}, marks=pytest.mark.slow),
        pytest.param(
            {"iou_threshold": 0.3, "count": 700, "per_level": 700}, marks=pytest.mark.slow
        ),
    ],
    ids=["small_ones_go", "few", "more_places_than_anchors"],
)
def test_proposals_are_those_of_the_graph_with_equal_scores_too(config):
    objectness, offsets = _steps(1, COUNT), _steps(1, COUNT, 4)
    function = functools.partial(_propose, **config)
    _, _, valid = _files_equal_the_function(function, objectness, offsets, tolerance=3e-5)
    assert valid.any()


@pytest.mark.parametrize(
    ("classes", "shapes", "config"),
    [
        (4, 4, {"score_threshold": 0.2}),
        pytest.param(2, 1, {"count": 70, "iou_threshold": 0.3}, marks=pytest.mark.slow),
        pytest.param(11, 1, {"iou_threshold": 0.7}, marks=pytest.mark.slow),
    ],
)
def test_detections_are_those_of_the_graph(classes, shapes, config):
    logits = _steps(1, 50, classes, of=4.0)
    boxes = _boxes(50).at[0, 5].set(0.0)  # a place without a proposal
    function = functools.partial(_detect, **config)
    *_, found, valid = _files_equal_the_function(function, logits, _steps(1, 50, shapes, 4), boxes)
    assert 0 < valid.sum() <= valid.size
    assert len(np.unique(found[valid])) >= min(classes - 1, 4)


@pytest.mark.slow
def test_a_box_that_overlaps_by_the_threshold_itself_stays():
    boxes = jnp.asarray(
        [[[0, 0, 20, 30], [0, 10, 20, 40], [0, 0, 20, 31]]], jnp.float32
    )  # IoU 0.5, above
    logits = jnp.asarray([[[0.0, 3.0], [0.0, 2.0], [0.0, 1.0]]])
    function = functools.partial(_detect, iou_threshold=0.5)
    *_, valid = _files_equal_the_function(function, logits, jnp.zeros((1, 3, 1, 4)), boxes)
    assert valid.sum() == 2


@pytest.mark.slow
def test_nothing_found_is_zeros():
    function = functools.partial(_detect, score_threshold=0.9)
    found = _files_equal_the_function(
        function, jnp.zeros((1, 8, 3)), jnp.zeros((1, 8, 1, 4)), _boxes(8)
    )
    assert not any(value.any() for value in found)


EDGES = (
    [0, 0, 32, 32], [0, 0, 16, 16], [0, 0, 64, 64], [8, 8, 8, 8], [0, 0, 128, 96], [-64, -64, 0, 0],
    [100, 80, 140, 110], [0, 0, 16, 64], [0, 0, 31.99, 32], [3, 5, 3, 9], [20, 20, 10, 10],
)  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "config"),
    [
        (3, {}),
        pytest.param(
            1, {"aligned": False, "sampling_ratio": 1, "output_size": 4}, marks=pytest.mark.slow
        ),
        pytest.param(3, {"aligned": False}, marks=pytest.mark.slow),
    ],
)
def test_regions_are_those_of_the_graph_at_every_border(levels, config):
    maps = [_steps(1, 24 >> i, 32 >> i, 5) for i in range(levels)]
    boxes = jnp.concatenate([_boxes(20, 130.0, 90.0) - 20, jnp.asarray([EDGES], jnp.float32)], 1)
    _files_equal_the_function(functools.partial(_read_regions, **config), *maps, boxes)


@pytest.mark.parametrize("kernels", REFERENCE_FIRST[:1] + REFERENCE_FIRST[2:])
def test_masks_of_classes_stay_integers(kernels):
    assert largest_difference(CASES["select_masks"], kernels, draws=2) == 0


@pytest.mark.slow
def test_integer_files_read_and_give_floats():
    function = lambda _, x, boxes: _read_regions(_, x, boxes) * 2.0  # noqa: E731  (a network after it)
    inputs = (_steps(1, 12, 16, 4), _boxes(6))
    graph, weights = quant.trace(function, {}, *inputs)
    assert [op.kind for op in graph.float_ops] == ["read_regions"]
    qparams = quant.calibrate(graph, weights, [inputs], input_range=None)
    file = export.to_tflite(graph, weights, qparams)
    for kernels in KERNELS:
        report = export.verify(file, graph, weights, qparams, *inputs, kernels=kernels)
        assert report.ok, str(report)


def test_what_cannot_be_written_is_refused():
    inputs = (_steps(2, COUNT), _steps(2, COUNT, 4))
    graph, weights = quant.trace(_propose, {}, *inputs)
    with pytest.raises(ValueError, match=r"\(propose\) is for 2 images.*batch of 1"):
        export.to_tflite(graph, weights)
    with pytest.raises(ValueError, match="TFLite Micro has no operators for propose"):
        export.to_tflite(graph, weights, target="micro")


def test_what_no_kernel_has_in_integers_leaves_as_float():
    shapes = ((1, 24, 32, 3), (1, 12, 16, 3), (1, 9, 4))
    examples = (jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)
    graph, _ = quant.trace(_read_regions, {}, *examples)
    with pytest.raises(
        ValueError, match=r"'uint8' does not fit .*, which stays float32; leave it out$"
    ):
        interface_types(graph, graph.outputs, "output_type", "uint8")
    (name,) = graph.outputs
    assert interface_types(graph, graph.outputs, "output_type", None) == {name: "float32"}
