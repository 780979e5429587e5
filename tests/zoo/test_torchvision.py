import re

import jax.numpy as jnp
import numpy as np
import pytest
import rnnpool_oracle as oracle
from traced import jit

from attokit import zoo

NORM = ("weight", "bias", "running_mean", "running_var")


def _body_shapes(prefix):
    """Yields the tensors of torchvision's ResNet-50 without its head."""
    yield f"{prefix}conv1.weight", (64, 3, 7, 7)
    yield from ((f"{prefix}bn1.{name}", (64,)) for name in NORM)
    entering = 64
    for layer, (blocks, middle) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            at = f"{prefix}layer{layer}.{block}"
            kernels = ((middle, entering, 1), (middle, middle, 3), (4 * middle, middle, 1))
            for number, (leaving, cin, side) in enumerate(kernels, start=1):
                yield f"{at}.conv{number}.weight", (leaving, cin, side, side)
                yield from ((f"{at}.bn{number}.{name}", (leaving,)) for name in NORM)
            if block == 0:
                yield f"{at}.downsample.0.weight", (4 * middle, entering, 1, 1)
                yield from ((f"{at}.downsample.1.{name}", (4 * middle,)) for name in NORM)
            entering = 4 * middle


def _detector_shapes(classes):
    yield from _body_shapes("backbone.body.")
    layers = {}
    for number, channels in enumerate((256, 512, 1024, 2048)):
        layers[f"backbone.fpn.inner_blocks.{number}.0"] = (256, channels, 1, 1)
        layers[f"backbone.fpn.layer_blocks.{number}.0"] = (256, 256, 3, 3)
        layers[f"roi_heads.mask_head.{number}.0"] = (256, 256, 3, 3)
    layers |= {
        "rpn.head.conv.0.0": (256, 256, 3, 3),
        "rpn.head.cls_logits": (3, 256, 1, 1),
        "rpn.head.bbox_pred": (12, 256, 1, 1),
        "roi_heads.box_head.fc6": (1024, 12544),
        "roi_heads.box_head.fc7": (1024, 1024),
        "roi_heads.box_predictor.cls_score": (classes, 1024),
        "roi_heads.box_predictor.bbox_pred": (4 * classes, 1024),
        "roi_heads.mask_predictor.conv5_mask": (256, 256, 2, 2),
        "roi_heads.mask_predictor.mask_fcn_logits": (classes, 256, 1, 1),
    }
    for name, shape in layers.items():
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]


def _zeros(shapes):
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes}


def test_the_names_of_a_detector_today_and_in_its_published_file():
    state = {}
    for name, values in _zeros(_detector_shapes(21)).items():
        old = re.sub(r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1.", name)
        old = old.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        old = re.sub(r"mask_head\.(\d)\.0\.", lambda m: f"mask_head.mask_fcn{int(m[1]) + 1}.", old)
        state[old if name.endswith("weight") else name] = values  # half of each
    assert sum(name.startswith("roi_heads.mask_head.mask_fcn") for name in state) == 4
    variables = zoo.variables_from_torchvision("mask_rcnn_r50_fpn", state)
    assert zoo.count_parameters(variables) == 44_077_773


@pytest.mark.slow
def test_other_classes_and_epsilons():
    state = _zeros([*_body_shapes(""), ("fc.weight", (7, 2048)), ("fc.bias", (7,))])
    variables = zoo.variables_from_torchvision("resnet50", state, epsilon=0.0, num_classes=7)
    assert variables["params"]["head"]["kernel"].shape == (2048, 7)
    np.testing.assert_allclose(variables["batch_stats"]["stem"]["norm"]["var"], -1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"of another shape: fc.bias \(7,\)"):
        zoo.variables_from_torchvision("resnet50", state)
    with pytest.raises(ValueError, match="no network 'vgg' of torchvision is known: choose from"):
        zoo.variables_from_torchvision("vgg", state)


class _Torch(oracle.Torch):
    """Draws kernels that keep the size of activations through fifty layers."""

    def tensor(self, name, *shape, positive=False):
        known = name in self.state
        values = super().tensor(name, *shape, positive=positive)
        if not known and len(shape) == 4:
            values = np.float32(values / np.sqrt(np.prod(shape[1:]) / 8)).astype(np.float64)
            self.state[name] = values
        return values


def _body(torch, x, prefix):
    """Returns the four maps of ResNet-50, NCHW."""

    def conv_norm(x, at, number, features, kernel, stride=1):
        padding = kernel // 2
        x = torch.conv(f"{at}conv{number}", x, features, kernel, stride=stride, padding=padding)
        return torch.norm(f"{at}bn{number}", x)

    x = np.maximum(conv_norm(x, prefix, 1, 64, 7, 2), 0)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    x, maps = windows[:, :, ::2, ::2].max((4, 5)), []
    for layer, (blocks, middle) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            at, stride = f"{prefix}layer{layer}.{block}.", 2 if layer > 1 and block == 0 else 1
            y = np.maximum(conv_norm(x, at, 1, middle, 1), 0)
            y = np.maximum(conv_norm(y, at, 2, middle, 3, stride), 0)
            y = conv_norm(y, at, 3, 4 * middle, 1)
            if block == 0:
                x = torch.conv(f"{at}downsample.0", x, 4 * middle, 1, stride=stride)
                x = torch.norm(f"{at}downsample.1", x)
            x = np.maximum(x + y, 0)
        maps.append(x)
    return maps


@pytest.mark.slow
def test_a_classifier_computes_what_torchvision_does():
    torch = _Torch()
    images = np.random.default_rng(0).random((2, 45, 64, 3)).astype(np.float32)
    x = _body(torch, images.astype(np.float64).transpose(0, 3, 1, 2), "")[-1].mean((2, 3))
    want = x @ torch.tensor("fc.weight", 5, 2048).T + torch.tensor("fc.bias", 5)
    variables = zoo.variables_from_torchvision("resnet50", torch.state, num_classes=5)
    got = jit(zoo.create("resnet50", num_classes=5).apply)(variables, jnp.asarray(images))
    np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())
