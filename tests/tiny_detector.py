"""A small Mask R-CNN with random weights that finds several classes, traced and calibrated once."""

import functools

import jax
import numpy as np
from traced import jit

from attokit import quant, zoo
from attokit.zoo.box_head import BoxHeadConfig
from attokit.zoo.detections import DetectionConfig
from attokit.zoo.mask_head import MaskHeadConfig
from attokit.zoo.proposals import ProposalConfig

SIZE = (64, 64)


@functools.cache
def model(*, agnostic: bool = True, conv_only: bool = False):
    """Returns the network; `agnostic` says whether classes share boxes and masks."""
    return zoo.create(
        "atto_mask_rcnn_lite",
        backbone="mobilenet_v1_025",
        pyramid_channels=16,
        num_classes=4,
        conv_only=conv_only,
        proposals=ProposalConfig(count=12, per_level=40),
        detections=DetectionConfig(count=6, candidates=30),
        box_head=BoxHeadConfig(
            hidden=(32,), output_size=5, class_agnostic=agnostic, convolutions=int(not agnostic)
        ),
        mask_head=MaskHeadConfig(
            channels=16, convolutions=1, output_size=7, class_agnostic=agnostic
        ),
        canonical_size=28.0,
        anchor_sizes=(8.0, 16.0, 32.0, 64.0),
    )


def images(count: int, seed: int = 3) -> np.ndarray:
    """Returns random images."""
    return np.random.default_rng(seed).random((count, *SIZE, 3), np.float32)


@functools.cache
def traced(*, agnostic: bool = True, conv_only: bool = False):
    """Returns the network's variables, its graph for one image and the graph's weights."""
    network = model(agnostic=agnostic, conv_only=conv_only)
    variables = jit(network.init)(jax.random.key(0), images(1))

    def louder(path, leaf):
        """Makes classes differ: initial logits are next to 0."""
        name = jax.tree_util.keystr(path)
        return leaf * 30 if "classes" in name and "kernel" in name else leaf

    variables = jax.tree_util.tree_map_with_path(louder, variables)
    return variables, *quant.trace(network.apply, variables, images(1))


@functools.cache
def calibrated(*, agnostic: bool = True, conv_only: bool = False):
    """Returns the graph, its weights and its scales."""
    _, graph, weights = traced(agnostic=agnostic, conv_only=conv_only)
    return graph, weights, quant.calibrate(graph, weights, [images(4, seed=1)])
