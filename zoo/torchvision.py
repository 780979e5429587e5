"""Reads the weights of torchvision's networks into those of this zoo.

A state dict maps names to tensors; here they are NumPy arrays, however they were loaded: of a file of safetensors by
`safetensors.numpy.load_file`, of PyTorch's by `{name: v.numpy() for name, v in torch.load(path).items()}`. Names are
those of torchvision since 0.14 or those of its published files, which are older.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax.numpy as jnp

from attokit.zoo import mask_rcnn, resnet
from attokit.zoo.mask_rcnn import MaskRCNN, MaskRCNNConfig
from attokit.zoo.resnet import ResNet, ResNetConfig
from attokit.zoo.state_dict import State, find_wanted, read, without_prefix

# Names of the published files -> names since, as torchvision itself translates them.
_RENAMED = (
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"rpn\.head\.conv\.(weight|bias)"), r"rpn.head.conv.0.0.\1"),
    (
        re.compile(r"roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)"),
        lambda match: f"roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}",
    ),
)
_MASK_RCNN = "mask_rcnn_r50_fpn"


def variables_from_torchvision(
    name: str,
    state: State,
    *,
    epsilon: float = resnet.EPSILON,
    num_classes: int | None = None,
) -> dict[str, Any]:
    """Returns the variables {"params", "batch_stats"} of `zoo.create(name)` from a state dict.

    torchvision trained on images that were standardized by the mean and deviation of ImageNet: its weights want
    `input_mean=(0.485, 0.456, 0.406)` and `input_std=(0.229, 0.224, 0.225)`.

    Args:
      name: "resnet50", or "mask_rcnn_r50_fpn", which is `maskrcnn_resnet50_fpn` there.
      state: Arrays by name.
      epsilon: What batch norms add to variances there: 0.0 in torchvision's `COCO_V1` weights of detectors, 1e-5
        everywhere else. The variances returned make up for the difference.
      num_classes: That of the weights, if it is not the one of `zoo.config(name)`: 91 in those of COCO.

    Raises:
      ValueError: if torchvision has no such network, or keys lack, are left over or have other shapes; all of
        them are listed.
    """
    overrides = {} if num_classes is None else {"num_classes": num_classes}
    model, modules, size = _network(name, overrides)
    wanted = find_wanted(model, size, modules)
    variables = read(name, {_renamed(k): v for k, v in without_prefix(state).items()}, wanted)
    flat = flax.traverse_util.flatten_dict(variables)
    shift = jnp.float32(epsilon - resnet.EPSILON)
    shifted = {path: v + shift if path[-1] == "var" else v for path, v in flat.items()}
    return flax.traverse_util.unflatten_dict(shifted)


def _network(
    name: str, overrides: dict[str, Any]
) -> tuple[nn.Module, dict[str, str], tuple[int, int, int]]:
    """Returns a network, a module's path here to its name there, and images that are large enough for it."""
    small = (64, 64, 3)
    if name in resnet.VARIANTS:
        config = dataclasses.replace(resnet.VARIANTS[name], **overrides)
        return ResNet(config), dict(_resnet_modules(config, "", "")) | {"head": "fc"}, small
    if name == _MASK_RCNN:
        detector = dataclasses.replace(mask_rcnn.VARIANTS[name], **overrides)
        return MaskRCNN(detector), dict(_mask_rcnn_modules(detector)), small
    known = ", ".join(sorted([*resnet.VARIANTS, _MASK_RCNN]))
    raise ValueError(f"no network {name!r} of torchvision is known: choose from {known}")


def _resnet_modules(config: ResNetConfig, here: str, there: str) -> Iterator[tuple[str, str]]:
    """Yields the modules of a body, here and there, each behind a prefix."""
    yield f"{here}stem/conv", f"{there}conv1"
    yield f"{here}stem/norm", f"{there}bn1"
    for stage, blocks in enumerate(config.blocks, start=1):
        for block in range(1, blocks + 1):
            ours, theirs = f"{here}stage{stage}_block{block}", f"{there}layer{stage}.{block - 1}"
            for number, part in enumerate(("reduce", "spatial", "restore"), start=1):
                yield f"{ours}/{part}/conv", f"{theirs}.conv{number}"
                yield f"{ours}/{part}/norm", f"{theirs}.bn{number}"
            yield f"{ours}/shortcut/conv", f"{theirs}.downsample.0"
            yield f"{ours}/shortcut/norm", f"{theirs}.downsample.1"


def _mask_rcnn_modules(config: MaskRCNNConfig) -> Iterator[tuple[str, str]]:
    """Yields the modules of a detector, here and there."""
    body = resnet.VARIANTS[config.backbone]
    yield from _resnet_modules(body, "backbone/", "backbone.body.")
    for number in range(1, len(config.maps) + 1):
        yield f"pyramid/lateral{number}", f"backbone.fpn.inner_blocks.{number - 1}.0"
        yield f"pyramid/output{number}/conv", f"backbone.fpn.layer_blocks.{number - 1}.0"
    yield "proposal_head/conv/conv", "rpn.head.conv.0.0"
    yield "proposal_head/objectness", "rpn.head.cls_logits"
    yield "proposal_head/boxes", "rpn.head.bbox_pred"
    yield "box_head/hidden1", "roi_heads.box_head.fc6"
    yield "box_head/hidden2", "roi_heads.box_head.fc7"
    yield "box_head/classes", "roi_heads.box_predictor.cls_score"
    yield "box_head/boxes", "roi_heads.box_predictor.bbox_pred"
    for number in range(1, config.mask_head.convolutions + 1):
        yield f"mask_head/conv{number}/conv", f"roi_heads.mask_head.{number - 1}.0"
    yield "mask_head/upsample", "roi_heads.mask_predictor.conv5_mask"
    yield "mask_head/logits", "roi_heads.mask_predictor.mask_fcn_logits"


def _renamed(key: str) -> str:
    for old, new in _RENAMED:
        match = old.fullmatch(key)
        if match:
            return match.expand(new) if isinstance(new, str) else new(match)
    return key
