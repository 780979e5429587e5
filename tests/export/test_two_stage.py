import json

import numpy as np
import pytest
from tiny_detector import calibrated, images
from traced import normal

from attokit import export, quant
from attokit.export import two_stage
from attokit.zoo.anchors import anchor_boxes_xyxy


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"agnostic": False, "conv_only": True}])
def test_three_files_find_what_the_one_file_finds(form):
    graph, weights, qparams = calibrated(**form)
    one = export.to_tflite(graph, weights, qparams)
    files = export.to_split_tflite(graph, weights, qparams)
    pixels = images(3)
    for kernels in ("reference", "xnnpack"):
        wanted = export.run(one, pixels, kernels=kernels, dequantize=True)
        runner = export.TwoStageRunner(
            files.trunk, files.box_head, files.mask_head, kernels=kernels
        )
        found = runner(pixels)
        assert found.keys() == wanted.keys()
        assert wanted["valid"].sum() > 6
        for name in ("valid", "classes"):
            np.testing.assert_array_equal(found[name], wanted[name])
        np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=1e-4)
        np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-6)
        # The one file rounds probabilities to 1 / 256.
        masks = np.where(found["valid"][..., None, None], found["masks"], 0)
        np.testing.assert_allclose(masks, wanted["masks"], atol=1 / 256 + 1e-6)
        report = export.verify(one, graph, weights, qparams, pixels[:1], kernels=kernels)
        assert report.ok, report.summary


@pytest.mark.slow
def test_the_files_are_integers_alone_and_the_heads_convolutions_if_asked_for():
    graph, weights, qparams = calibrated(agnostic=False, conv_only=True)
    files = export.to_split_tflite(graph, weights, qparams)
    for file in (files.trunk, files.box_head, files.mask_head):
        info = export.inspect(file)
        assert not any(tensor.dtype == "float32" for tensor in info.main.tensors)
        assert all(tensor.shape[0] == 1 for tensor in info.inputs.values())
    assert {*export.inspect(files.mask_head).histogram} == {"CONV_2D", "TRANSPOSE_CONV", "RELU"}
    assert {*export.inspect(files.box_head).histogram} == {"CONV_2D", "RESHAPE"}
    with pytest.raises(ValueError, match="TFLite Micro has no operators for propose"):
        export.to_tflite(graph, weights, qparams, target="micro")
    with pytest.raises(ValueError, match="the trunk, the box head and the mask head"):
        export.TwoStageRunner(files.trunk, files.mask_head, files.box_head)


@pytest.mark.slow
def test_float_and_integer_graph_equal_the_files():
    graph, weights, qparams = calibrated()
    pixels = images(2)
    wanted = quant.fake_quant(graph)(weights, qparams, pixels)
    found = export.run(
        export.to_tflite(graph, weights, qparams), pixels, kernels="reference", dequantize=True
    )
    for name in ("boxes", "scores"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
    np.testing.assert_array_equal(found["classes"], wanted["classes"])
    np.testing.assert_allclose(found["masks"], wanted["masks"], atol=1 / 128)


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"agnostic": False, "conv_only": True}])
def test_images_without_a_proposal(form):
    files = export.to_split_tflite(*calibrated(**form))
    runner = export.TwoStageRunner(files.trunk, files.box_head, files.mask_head)
    runner.settings["proposals"]["least_side"] = 1e6
    found = runner(images(2))
    assert not found["valid"].any() and found["boxes"].shape == (2, 6, 4)
    assert not any(value.any() for value in found.values())


@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (4, 1), (1, 1)])
def test_anchors_are_told_by_their_first_cell(grid):
    (anchors,) = anchor_boxes_xyxy([grid], steps=[(16, 16)], sizes=(24.0,), ratios=(0.5, 1.0, 2.0))
    described = json.loads(json.dumps(two_stage._described_grid(anchors)))
    assert (described["rows"], described["columns"]) == grid
    assert len(described["cell"]) == 3
    np.testing.assert_array_equal(two_stage._grid(described), anchors)


def test_other_boxes_are_no_anchors():
    boxes = np.random.default_rng(0).random((12, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="no grid of equal cells"):
        two_stage._described_grid(boxes)


def test_what_says_nothing_of_the_stages_is_refused():
    graph, weights = quant.trace(lambda v, x: x @ v, normal(3, 2), normal(1, 3))
    with pytest.raises(ValueError, match="no metadata ATTOKIT_TWO_STAGE"):
        two_stage.read_settings(export.to_tflite(graph, weights))
    damaged = export.to_tflite(graph, weights, metadata={two_stage.METADATA: '{"format": 9}'})
    with pytest.raises(ValueError, match=r"damaged or of a later version.*format 9"):
        two_stage.read_settings(damaged)
