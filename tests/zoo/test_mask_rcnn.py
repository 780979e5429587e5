import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, variables_of

from attokit import zoo
from attokit.zoo.box_head import BoxHeadConfig
from attokit.zoo.detections import DetectionConfig
from attokit.zoo.mask_head import MaskHeadConfig
from attokit.zoo.mask_rcnn import select_masks
from attokit.zoo.proposals import ProposalConfig


def test_counts_of_the_reference_implementation():
    """44,077,773 parameters with 21 classes; at 512x512, 1000 proposals and 100 detections 115.0 G."""
    info = zoo.info("mask_rcnn_r50_fpn")
    assert (info.parameters, info.task) == (44_077_773, "instance_segmentation")
    cells = [(512 // stride) ** 2 for stride in (4, 8, 16, 32, 64)]
    body = (4_089_184_256 - 2048 * 1000) * 512**2 // 224**2
    laterals = zip(cells, (256, 512, 1024, 2048), strict=False)
    pyramid = sum(n * 256 * (c + 9 * 256) for n, c in laterals)
    proposals = sum(cells) * 256 * (9 * 256 + 15)
    boxes = 1000 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * 21 * 5)
    masks = 100 * 14**2 * 256 * (4 * 9 * 256 + 4 * 256 + 4 * 21)
    assert info.macs == body + pyramid + proposals + boxes + masks
    assert round(info.macs / 1e9, 1) == 115.0


@pytest.mark.slow
def test_counts_of_ours_are_half_and_a_fifth():
    info = zoo.info("atto_mask_rcnn")
    assert (info.parameters, info.macs) == (8_944_837, 21_743_222_784)
    assert info.parameters <= 22.0e6
    assert info.macs <= 23e9
    assert (info.image_size, info.num_classes) == ((512, 512, 3), 21)
    config = zoo.config("atto_mask_rcnn")
    assert (config.proposals.count, config.detections.count) == (1000, 100)


@pytest.mark.slow
def test_counts_of_the_small_one():
    info = zoo.info("atto_mask_rcnn_lite")
    assert (info.parameters, info.macs) == (1_361_007, 348_589_120)


@pytest.mark.parametrize("size", [(150, 150), (375, 500), (96, 64)])
def test_anchors_are_those_of_the_padded_image(size):
    config = zoo.config("mask_rcnn_r50_fpn")
    padded = tuple(-(-length // 32) * 32 for length in size)
    found, wanted = config.anchors(size), config.anchors(padded)
    for boxes, more, stride in zip(found, wanted, config.strides, strict=True):
        rows, columns = (-(-length // stride) for length in size)
        grid = more.reshape(-(-padded[0] // stride), -(-padded[1] // stride), 3, 4)
        np.testing.assert_array_equal(boxes.reshape(rows, columns, 3, 4), grid[:rows, :columns])
        if stride == 64:  # torchvision: whole pixels of the image for every row of the coarser map
            stride = padded[0] // len(grid)
        corner = boxes.reshape(rows, columns, 3, 4)[-1, 0, 0]
        np.testing.assert_array_equal(corner[1] - boxes[0, 1], (rows - 1) * stride)


def _tiny(**overrides):
    return zoo.create(
        "atto_mask_rcnn_lite",
        backbone="mobilenet_v1_025",
        maps=("c4", "c5"),
        canonical_map="c5",
        pyramid_channels=8,
        anchor_sizes=(16.0, 32.0),
        num_classes=4,
        proposals=ProposalConfig(count=9, per_level=20),
        box_head=BoxHeadConfig(hidden=(8,), output_size=2),
        mask_head=MaskHeadConfig(channels=4, convolutions=1, output_size=3),
        detections=DetectionConfig(count=5, candidates=12, score_threshold=0.1),
        **overrides,
    )


def _images(seed):
    return jnp.asarray(np.random.default_rng(seed).random((2, 48, 64, 3)), jnp.float32)


@functools.cache
def _tiny_outputs():
    """Returns the variables, and what the detector and its stages one by one say of two pairs of images."""
    model = _tiny()
    # Kernels that keep the size of activations.
    variables = jax.tree.map(
        lambda leaf: leaf * (leaf.shape[-1] / leaf.size) ** 0.5 if leaf.ndim == 4 else leaf,
        variables_of(model, _images(0)),
    )

    def both(variables, images):
        def stages(module, images):
            maps = module.extract(images)
            proposals = module.propose(*module.score_anchors(maps), image_size=images.shape[1:3])
            logits, offsets = module.classify_boxes(maps, proposals.boxes_xyxy)
            found = module.detect(logits, offsets, proposals, image_size=images.shape[1:3])
            return proposals, found, module.segment_boxes(maps, found.boxes_xyxy)

        whole = model.apply(variables, images)
        return whole, model.apply(variables, images, method=stages)

    compiled = jit(both)
    outputs = [jax.tree.map(np.asarray, compiled(variables, _images(seed))) for seed in (0, 1)]
    assert compiled._cache_size() == 1
    return variables, outputs


@pytest.mark.slow
def test_outputs_have_fixed_shapes_and_padding_is_zeros():
    _, outputs = _tiny_outputs()
    for whole, _ in outputs:
        assert {name: x.shape for name, x in whole.items()} == {
            "boxes": (2, 5, 4),
            "scores": (2, 5),
            "classes": (2, 5),
            "masks": (2, 5, 6, 6),
            "valid": (2, 5),
        }
        valid = whole["valid"]
        assert np.any(valid)
        assert np.array_equal(np.sort(valid)[:, ::-1], valid)  # in front
        assert np.all(whole["scores"][valid] > 0.1)
        assert np.all(np.diff(whole["scores"]) <= 0)
        assert np.all((whole["classes"][valid] >= 1) & (whole["classes"][valid] <= 3))
        assert np.all((whole["masks"] >= 0) & (whole["masks"] <= 1))
        assert np.all(whole["boxes"] <= [64, 48, 64, 48])
        for name in ("boxes", "scores", "classes", "masks"):
            assert not np.any(whole[name][~valid])


@pytest.mark.slow
def test_stages_by_themselves_are_the_detector():
    _, outputs = _tiny_outputs()
    for whole, (proposals, found, masks) in outputs:
        assert proposals.boxes_xyxy.shape == (2, 9, 4)
        assert np.any(proposals.valid)
        assert np.array_equal(found.boxes_xyxy, whole["boxes"])
        assert np.array_equal(found.classes, whole["classes"])
        assert masks.shape == (2, 5, 6, 6, 4)
        own = np.where(
            found.valid[..., None, None], nn.sigmoid(select_masks(masks, found.classes)), 0
        )
        np.testing.assert_allclose(own, whole["masks"], atol=1e-6)


@pytest.mark.slow
def test_training_reaches_every_parameter():
    """Gradients through the stages, with regions of one's own, are finite; batch statistics move."""
    model, (variables, _) = _tiny(), _tiny_outputs()
    boxes = jnp.asarray([[[4.0, 4, 40, 30], [0, 0, 64, 48], [5, 5, 5, 5]]] * 2)

    def stages(module, images):
        maps = module.extract(images, train=True)
        outputs = (
            *module.score_anchors(maps),
            *module.classify_boxes(maps, boxes),
            module.segment_boxes(maps, boxes),
        )
        return sum(jnp.mean(jnp.square(x - 1.0)) for x in outputs)

    def loss(params):
        return model.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            _images(0),
            method=stages,
            mutable=["batch_stats"],
        )

    gradients, state = jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
    still = [path for path, g in jax.tree.leaves_with_path(gradients) if not np.any(g)]
    assert not still
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), state, {"batch_stats": variables["batch_stats"]}
    )
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet_v2_035", "resnet50"])
def test_any_backbone_will_do(backbone):
    model = zoo.create("atto_mask_rcnn_lite", backbone=backbone)
    images = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    found, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert found["masks"].shape == (1, 16, 28, 28)
    widths = [m.channels for m in zoo.feature_maps(backbone)][1:]
    laterals = [variables["params"]["pyramid"][f"lateral{i}"]["conv"] for i in (1, 2, 3, 4)]
    assert [layer["kernel"].shape[2] for layer in laterals] == widths


def test_refuses_bad_configs():
    create = functools.partial(zoo.create, "atto_mask_rcnn")
    with pytest.raises(ValueError, match="'unet' is no backbone"):
        create(backbone="unet")
    with pytest.raises(ValueError, match="num_classes=1: give at least 2"):
        create(num_classes=1)
    with pytest.raises(ValueError, match=r"maps=\('c2', 'c4'\): give names of successive levels"):
        create(maps=("c2", "c4"))
    with pytest.raises(ValueError, match=r"5 maps have anchors, anchor_sizes=\(8,\)"):
        create(anchor_sizes=(8,))
    with pytest.raises(ValueError, match="canonical_map='c7': choose from c2, "):
        create(canonical_map="c7")
    with pytest.raises(ValueError, match="pyramid_kind='thin'"):
        create(pyramid_kind="thin")
    with pytest.raises(ValueError, match="sampling_ratio=0"):
        create(sampling_ratio=0)
    model = create(backbone="rnnpool_vww")
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with pytest.raises(ValueError, match="rnnpool_vww has no maps c2: choose from c1, c3, c4, c5"):
        jax.eval_shape(model.init, jax.random.key(0), images)


def test_anchors_are_as_many_as_outputs():
    model = _tiny()
    size = (50, 70)  # no multiple of anything
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)

    def outputs(module, images):
        return module.score_anchors(module.extract(images))

    (objectness, _), _ = jax.eval_shape(
        functools.partial(model.init_with_output, method=outputs), jax.random.key(0), images
    )
    assert objectness.shape == (1, sum(map(len, model.config.anchors(size))))
    assert model.config.strides == (16, 32)
    assert zoo.config("atto_mask_rcnn").strides == (4, 8, 16, 32, 64)
