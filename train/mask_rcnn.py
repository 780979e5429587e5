"""Mask R-CNN in training: one call from images and their objects to the five losses."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from attokit.train.mask_rcnn_losses import head_losses, mask_loss, proposal_losses
from attokit.train.mask_targets import mask_targets
from attokit.train.roi_sampling import Regions, RoISamplingConfig, sample_regions
from attokit.train.rpn_targets import AnchorTargets, RPNTargetConfig, anchor_targets
from attokit.zoo.mask_rcnn import MaskRCNN, MaskRCNNConfig
from attokit.zoo.proposals import ProposalConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskRCNNTrainConfig:
    """What a Mask R-CNN learns from.

    Attributes:
      anchors: For the proposal head.
      proposals: That regions are drawn from; more than in inference.
      regions: For the heads.

    The defaults are torchvision's.
    """

    anchors: RPNTargetConfig = dataclasses.field(default_factory=RPNTargetConfig)
    proposals: ProposalConfig = dataclasses.field(
        default_factory=functools.partial(ProposalConfig, count=2000, per_level=2000)
    )
    regions: RoISamplingConfig = dataclasses.field(default_factory=RoISamplingConfig)

    @classmethod
    def of(cls, model: MaskRCNNConfig) -> "MaskRCNNTrainConfig":
        """Returns what a network of some size learns from.

        Twice the proposals of inference, three regions for four of them and an anchor for each, but no more
        than torchvision's 512 regions and 256 anchors, which networks of 1000 proposals so have.
        """
        count = model.proposals.count
        return cls(
            anchors=RPNTargetConfig(count=min(256, count)),
            proposals=dataclasses.replace(
                model.proposals, count=2 * count, per_level=2 * model.proposals.per_level
            ),
            regions=RoISamplingConfig(count=min(512, max(4, 3 * count // 4))),
        )


class Objects(NamedTuple):
    """The objects of a batch of images, as rows of a fixed number.

    Attributes:
      boxes_xyxy: In pixels.
      labels: A class from 1 on, 0 for rows without a box, below 0 for objects that do not count.
      masks: Pictures over the boxes, as `train.mask_targets` has them.
    """

    boxes_xyxy: Float[Array, "b g 4"]
    labels: Int[Array, "b g"]
    masks: UInt8[Array, "b g m m"]


class Lesson(NamedTuple):
    """What a network says of a batch, beside what it is to say.

    Attributes:
      objectness: Logits of all anchors.
      anchor_offsets: From all anchors.
      anchors: What some of them are to say.
      logits: Of the regions.
      offsets: From the regions.
      regions: What they are to say.
      masks: Logits of the first regions, where those with an object are.
      shapes: What these are to show.
    """

    objectness: Float[Array, "b n"]
    anchor_offsets: Float[Array, "b n 4"]
    anchors: AnchorTargets
    logits: Float[Array, "b t k"]
    offsets: Float[Array, "b t k2 4"]
    regions: Regions
    masks: Float[Array, "b t2 m m k3"]
    shapes: Float[Array, "b t2 m m"]


def learn(
    module: MaskRCNN,
    images: Float[Array, "b h w c"],
    objects: Objects,
    key: Array,
    config: MaskRCNNTrainConfig,
) -> Lesson:
    """Returns what the network says of images, and what it is to say.

    It is a method of the network, as Flax has it: `model.apply(variables, images, objects, key, config,
    method=learn, mutable=["batch_stats"])`. Every image draws its anchors and regions by a key of its own, so a
    batch on many devices learns what it does on one.

    Args:
      module: Bound to its variables, as `apply` does it.
      images: In [0, 1].
      objects: Of the images.
      key: Of the draws.
      config: What to learn from.
    """
    size = (images.shape[1], images.shape[2])
    anchors = jnp.concatenate([jnp.asarray(level) for level in module.config.anchors(size)])
    anchor_keys, region_keys = (jax.random.split(k, len(images)) for k in jax.random.split(key))
    maps = module.extract(images, train=True)
    objectness, anchor_offsets = module.score_anchors(maps)
    proposals = module.propose(objectness, anchor_offsets, image_size=size, config=config.proposals)
    targets = jax.vmap(functools.partial(anchor_targets, config=config.anchors), (0, 0, 0, None))(
        anchor_keys, objects.boxes_xyxy, objects.labels, anchors
    )
    regions = jax.vmap(functools.partial(sample_regions, config=config.regions))(
        region_keys,
        proposals.boxes_xyxy,
        proposals.valid,
        objects.boxes_xyxy,
        objects.labels,
    )
    logits, offsets = module.classify_boxes(maps, regions.boxes_xyxy)
    with_object = max(1, min(config.regions.positives, regions.labels.shape[1]))
    shown, rows = regions.boxes_xyxy[:, :with_object], regions.rows[:, :with_object]
    masks = module.segment_boxes(maps, shown)
    shapes = jax.vmap(functools.partial(mask_targets, output_size=masks.shape[2]))(
        objects.masks, objects.boxes_xyxy, shown, rows
    )
    return Lesson(objectness, anchor_offsets, targets, logits, offsets, regions, masks, shapes)


def lesson_losses(lesson: Lesson) -> dict[str, Float[Array, " b"]]:
    """Returns the five losses of every image by name; their sum is what training lowers."""
    proposals = proposal_losses(lesson.objectness, lesson.anchor_offsets, lesson.anchors)
    heads = head_losses(lesson.logits, lesson.offsets, lesson.regions)
    labels = lesson.regions.labels[:, : lesson.masks.shape[1]]
    return {
        "objectness": proposals.objectness,
        "anchor_boxes": proposals.boxes,
        "classes": heads.classes,
        "boxes": heads.boxes,
        "masks": mask_loss(lesson.masks, lesson.shapes, labels),
    }
