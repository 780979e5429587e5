"""Mask R-CNN: boxes with a class and a mask each, in three stages (He et al. 2017, arXiv 1703.06870).

A body, a feature pyramid, proposals, and two heads that read regions of the pyramid. All shapes are fixed: there are
always as many proposals and detections, and places without one are marked. `mask_rcnn_r50_fpn` is torchvision's
network with its parameters and counts; the others have a small body and a small pyramid.

Deviation: no network is published as "Atto-MaskRCNN" with its sizes; `atto_mask_rcnn` keeps within half the parameters
and a fifth of the multiply-adds of ResNet-50's, which is what its authors report.
Deviation: masks are pasted without rounding boxes to whole pixels (`mask_paste`).
Deviation: at most `detections.candidates` pairs of a region and a class are looked at for detections, the best ones;
torchvision looks at all above the threshold.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attokit.zoo import backbones
from attokit.zoo.anchors import anchor_boxes_xyxy
from attokit.zoo.backbone import stride_of
from attokit.zoo.box_head import BoxHead, BoxHeadConfig
from attokit.zoo.composite import composite
from attokit.zoo.detections import DetectionConfig, Detections, detect
from attokit.zoo.feature_pyramid import FeaturePyramid
from attokit.zoo.mask_head import MaskHead, MaskHeadConfig
from attokit.zoo.proposals import ProposalConfig, ProposalHead, Proposals, propose
from attokit.zoo.roi_align import RegionConfig, read_regions
from attokit.zoo.sizes import check_choice, check_positive
from attokit.zoo.spatial_conv import SpatialKind
from attokit.zoo.standardize import check_standardization, standardize

Maps = Sequence[Float[Array, "b _ _ c"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskRCNNConfig:
    """Sizes of one Mask R-CNN.

    Attributes:
      backbone: Name of a model whose maps are read.
      maps: Which of them, from fine to coarse, each half of the one before.
      pyramid_channels: Of every map of the pyramid.
      pyramid_kind: Of its 3x3 convolutions.
      pyramid_norm: Whether its convolutions have batch norms, else biases.
      coarser_map: Whether proposals come from one more, coarser map; the heads do not read it.
      anchor_sizes: Square root of the area of each map's anchors, in pixels.
      anchor_ratios: Of anchors, height to width.
      proposal_kind: Of the proposal head's 3x3 convolution.
      proposals: How many, in inference.
      box_head: Sizes.
      mask_head: Sizes.
      detections: How many.
      canonical_size: Square root of the area in pixels of a box that reads map `canonical_map`.
      canonical_map: Its name; boxes of half the size read the next finer one, and so on.
      sampling_ratio: Of RoIAlign, samples of a bin along each side.
      aligned: Of RoIAlign, whether a pixel's centre is where it is.
      conv_only: Whether the heads are spelled as convolutions alone; the parameters are the same.
      input_mean: Subtracted from images in [0, 1], per channel; None where the network takes them as they are.
      input_std: What they are divided by then. Weights of torchvision want ImageNet's
        mean (0.485, 0.456, 0.406) and deviation (0.229, 0.224, 0.225).
      num_classes: Background and what is looked for.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    backbone: str
    maps: tuple[str, ...] = ("c2", "c3", "c4", "c5")
    pyramid_channels: int = 256
    pyramid_kind: SpatialKind = "dense"
    pyramid_norm: bool = False
    coarser_map: bool = True
    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposal_kind: SpatialKind = "dense"
    proposals: ProposalConfig = dataclasses.field(default_factory=ProposalConfig)
    box_head: BoxHeadConfig = dataclasses.field(default_factory=BoxHeadConfig)
    mask_head: MaskHeadConfig = dataclasses.field(default_factory=MaskHeadConfig)
    detections: DetectionConfig = dataclasses.field(default_factory=DetectionConfig)
    canonical_size: float = 224.0
    canonical_map: str = "c4"
    sampling_ratio: int = 2
    aligned: bool = True
    conv_only: bool = False
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None
    num_classes: int = 21
    image_size: tuple[int, int, int] = (512, 512, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        backbones.check_name(self.backbone)
        check_positive(self, "pyramid_channels", "canonical_size", "sampling_ratio")
        check_choice(self, "pyramid_kind", "dense", "separable")
        check_choice(self, "proposal_kind", "dense", "separable")
        check_choice(self, "canonical_map", *self.maps)
        check_standardization(self)
        if self.num_classes < 2:
            raise ValueError(
                f"num_classes={self.num_classes}: give at least 2, the background counts as one"
            )
        strides = [stride_of(name) for name in self.maps]
        if not strides or any(b != 2 * a for a, b in itertools.pairwise(strides)):
            raise ValueError(
                f"maps={self.maps}: give names of successive levels, from fine to coarse"
            )
        if len(self.anchor_sizes) != len(self.strides):
            raise ValueError(
                f"{len(self.strides)} maps have anchors, anchor_sizes={self.anchor_sizes}: give one size "
                "for each"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels from cell to cell of every map of the pyramid."""
        strides = [stride_of(name) for name in self.maps]
        return (*strides, 2 * strides[-1]) if self.coarser_map else tuple(strides)

    def anchors(self, image_size: tuple[int, int]) -> tuple[Float[np.ndarray, "_ 4"], ...]:
        """Returns the anchors of every map for images of some height and width, xyxy in pixels.

        They are those of the image padded to whole cells of the coarsest map of the backbone, as far as maps have
        cells for them: as torchvision, which pads images.
        """
        coarsest = stride_of(self.maps[-1])
        padded = [-(-length // coarsest) * coarsest for length in image_size]
        return anchor_boxes_xyxy(
            [(-(-image_size[0] // s), -(-image_size[1] // s)) for s in self.strides],
            # The strides, but for a coarser map of an odd one: its cells share the padded image.
            steps=[
                (padded[0] // -(-padded[0] // s), padded[1] // -(-padded[1] // s))
                for s in self.strides
            ],
            sizes=self.anchor_sizes,
            ratios=self.anchor_ratios,
        )

    def regions(self, output_size: int) -> RegionConfig:
        """Returns how boxes become regions of some size."""
        return RegionConfig(
            output_size=output_size,
            sampling_ratio=self.sampling_ratio,
            strides=tuple(map(float, self.strides[: len(self.maps)])),
            aligned=self.aligned,
            canonical_size=self.canonical_size,
            canonical_level=self.maps.index(self.canonical_map),
        )


class MaskRCNN(nn.Module):
    """The detector of a config: `backbone`, `pyramid`, `proposal_head`, `box_head` and `mask_head`.

    Training calls the stages as methods, with regions of its own: `extract`, `score_anchors`, `classify_boxes`
    and `segment_boxes`; what lies between them has no parameters.
    """

    config: MaskRCNNConfig

    def setup(self) -> None:
        """Makes the parts."""
        config = self.config
        self.backbone = backbones.body(config.backbone)
        self.pyramid = FeaturePyramid(
            config.pyramid_channels, config.pyramid_kind, config.pyramid_norm, config.coarser_map
        )
        self.proposal_head = ProposalHead(len(config.anchor_ratios), config.proposal_kind)
        self.box_head = BoxHead(config.box_head, config.num_classes, config.conv_only)
        self.mask_head = MaskHead(config.mask_head, config.num_classes, config.conv_only)

    def __call__(self, images: Float[Array, "b h w c"], *, train: bool = False) -> dict[str, Array]:
        """Returns what is found in images in [0, 1]; `train` updates the batch statistics.

        Returns:
          "boxes" [b, d, 4], xyxy in pixels, "scores" [b, d], "classes" [b, d] from 1 on, "masks" [b, d, m, m],
          probabilities over each box, and "valid" [b, d], which of the d places are filled; the best first.
        """
        size = (images.shape[1], images.shape[2])
        maps = self.extract(images, train=train)
        proposals = self.propose(*self.score_anchors(maps), image_size=size)
        logits, offsets = self.classify_boxes(maps, proposals.boxes_xyxy)
        found = self.detect(logits, offsets, proposals, image_size=size)
        masks = nn.sigmoid(self.segment_boxes(maps, found.boxes_xyxy))
        masks = select_masks(masks, found.classes)
        return {
            "boxes": found.boxes_xyxy,
            "scores": found.scores,
            "classes": found.classes,
            "masks": jnp.where(found.valid[..., None, None], masks, 0.0),
            "valid": found.valid,
        }

    def extract(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b _ _ c"], ...]:
        """Returns the maps of the pyramid, from fine to coarse.

        Raises:
          ValueError: if the backbone has no such maps.
        """
        config = self.config
        maps = self.backbone(standardize(images, config.input_mean, config.input_std), train=train)
        missing = [name for name in config.maps if name not in maps]
        if missing:
            raise ValueError(
                f"{config.backbone} has no maps {', '.join(missing)}: choose from {', '.join(maps)}"
            )
        return self.pyramid([maps[name] for name in config.maps], train=train)

    def score_anchors(self, maps: Maps) -> tuple[Float[Array, "b n"], Float[Array, "b n 4"]]:
        """Returns a logit for every anchor, and offsets from it, in the order of `config.anchors`."""
        return self.proposal_head(maps)

    def propose(
        self,
        objectness: Float[Array, "b n"],
        offsets: Float[Array, "b n 4"],
        *,
        image_size: tuple[int, int],
        config: ProposalConfig | None = None,
    ) -> Proposals:
        """Returns the proposals of every image; `config` is that of inference unless given."""

        def of_image(objectness: Array, offsets: Array) -> Proposals:
            return propose(
                objectness,
                offsets,
                self.config.anchors(image_size),
                image_size=image_size,
                config=config or self.config.proposals,
            )

        return jax.vmap(of_image)(objectness, offsets)

    def classify_boxes(
        self, maps: Maps, boxes_xyxy: Float[Array, "b t 4"]
    ) -> tuple[Float[Array, "b t k"], Float[Array, "b t k2 4"]]:
        """Returns logits for every box, and offsets from it for every class (or one for all, k2 = 1)."""
        b, t, _ = boxes_xyxy.shape
        regions = self._regions(maps, boxes_xyxy, self.config.box_head.output_size)
        logits, offsets = self.box_head(regions)
        return logits.reshape(b, t, -1), offsets.reshape(b, t, -1, 4)

    def segment_boxes(
        self, maps: Maps, boxes_xyxy: Float[Array, "b t 4"]
    ) -> Float[Array, "b t m m k"]:
        """Returns the logits of a mask of every box for every class (or one for all, k = 1)."""
        b, t, _ = boxes_xyxy.shape
        regions = self._regions(maps, boxes_xyxy, self.config.mask_head.output_size)
        masks = self.mask_head(regions)
        return masks.reshape(b, t, *masks.shape[1:])

    def detect(
        self,
        logits: Float[Array, "b t k"],
        offsets: Float[Array, "b t k2 4"],
        proposals: Proposals,
        *,
        image_size: tuple[int, int],
    ) -> Detections:
        """Returns the detections of every image."""

        def of_image(logits: Array, offsets: Array, proposals: Proposals) -> Detections:
            return detect(
                logits,
                offsets,
                proposals.boxes_xyxy,
                proposals.valid,
                image_size=image_size,
                config=self.config.detections,
            )

        return jax.vmap(of_image)(logits, offsets, proposals)

    def _regions(
        self, maps: Maps, boxes_xyxy: Float[Array, "b t 4"], output_size: int
    ) -> Float[Array, "r s s c"]:
        """Returns the regions of the boxes of all images."""
        read = functools.partial(read_regions, config=self.config.regions(output_size))
        maps = tuple(maps[: len(self.config.maps)])
        regions = jax.vmap(read)(maps, boxes_xyxy)  # [b, t, s, s, c]
        return regions.reshape(-1, *regions.shape[2:])


def select_masks(
    masks: Float[Array, "b t m m k"], classes: Int[Array, "b t"]
) -> Float[Array, "b t m m"]:
    """Returns the mask of each region's class; of masks that all classes share, that one.

    A jaxpr shows it as the composite "select_masks".
    """
    if masks.shape[-1] == 1:
        return masks[..., 0]
    return composite("select_masks", masks_of_classes, masks, classes)


def masks_of_classes(
    masks: Float[Array, "b t m m k"], classes: Int[Array, "b t"]
) -> Float[Array, "b t m m"]:
    """Returns what `select_masks` does, of classes that have masks of their own."""
    return jnp.take_along_axis(masks, classes[..., None, None, None], axis=-1)[..., 0]


VARIANTS: Mapping[str, MaskRCNNConfig] = MappingProxyType(
    {
        "atto_mask_rcnn": MaskRCNNConfig(
            backbone="attonet_a",
            pyramid_channels=128,
            pyramid_kind="separable",
            pyramid_norm=True,
            proposal_kind="separable",
            box_head=BoxHeadConfig(hidden=(768, 768)),
            mask_head=MaskHeadConfig(channels=128),
        ),
        # Dense convolutions of few channels: at these sizes they train faster on CPU than separable ones.
        "atto_mask_rcnn_lite": MaskRCNNConfig(
            backbone="attonet_c",
            pyramid_channels=48,
            pyramid_norm=True,
            coarser_map=False,
            anchor_sizes=(16.0, 32.0, 64.0, 128.0),
            proposals=ProposalConfig(count=64, per_level=128),
            box_head=BoxHeadConfig(hidden=(128, 128), class_agnostic=True),
            mask_head=MaskHeadConfig(channels=48, convolutions=2, class_agnostic=True),
            detections=DetectionConfig(count=16, candidates=128),
            canonical_size=56.0,
            canonical_map="c3",
            num_classes=11,
            image_size=(160, 160, 3),
        ),
        "mask_rcnn_r50_fpn": MaskRCNNConfig(backbone="resnet50", aligned=False),
    }
)
