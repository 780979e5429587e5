"""Mask R-CNN in integers as training takes it: both stages on the integers of the file, regions of one's own.

The three networks are parts of the graph that ships (`quant.cut_two_stage`); between them training draws regions
as it does for the float network. Gradients go through the reading of regions into the trunk, none goes
through the choice of boxes.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from attokit.learned_scales import with_scales
from attokit.quant import Graph, QParams, TwoStage, cut_two_stage, fake_quant
from attokit.quant.fake_quant import QuantizedGraph
from attokit.quant.graph import Weights
from attokit.quant.ops.kind import Kernels
from attokit.train.mask_rcnn import MaskRCNNTrainConfig, learn
from attokit.zoo.mask_rcnn import MaskRCNNConfig
from attokit.zoo.proposals import ProposalConfig, Proposals, propose
from attokit.zoo.roi_align import RegionConfig, read_regions


class Seen(NamedTuple):
    """What the trunk says of images.

    Attributes:
      maps: Of the pyramid, from fine to coarse, those that regions are read of.
      objectness: Logits of all anchors.
      offsets: From all anchors.
    """

    maps: tuple[Float[Array, "b _ _ c"], ...]
    objectness: Float[Array, "b n"]
    offsets: Float[Array, "b n 4"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class QuantizedStages:
    """The stages of `zoo.MaskRCNN` in integers, bound to weights: `train.mask_rcnn.learn` takes it for one.

    Attributes:
      config: Of the network.
      parts: Of its graph.
      kernels: Whose rounding to use.
      weights: Of the whole graph.
      qparams: Likewise.
    """

    config: MaskRCNNConfig
    parts: TwoStage
    kernels: Kernels
    weights: Weights
    qparams: QParams

    def extract(self, images: Float[Array, "b h w c"], *, train: bool = False) -> Seen:
        """Returns what the trunk says of images; training and inference are one."""
        del train
        said = self._run(self.parts.trunk, images)
        maps = tuple(said[f"map_{i}"] for i in range(len(self.parts.box_regions.strides)))
        return Seen(maps, said["objectness"], said["offsets"])

    def score_anchors(self, seen: Seen) -> tuple[Float[Array, "b n"], Float[Array, "b n 4"]]:
        """Returns a logit for every anchor, and offsets from it."""
        return seen.objectness, seen.offsets

    def propose(
        self,
        objectness: Float[Array, "b n"],
        offsets: Float[Array, "b n 4"],
        *,
        image_size: tuple[int, int],
        config: ProposalConfig | None = None,
    ) -> Proposals:
        """Returns the proposals of every image; no gradient goes through."""
        anchors = self.config.anchors(image_size)
        one = functools.partial(
            propose,
            anchors_xyxy=anchors,
            image_size=image_size,
            config=config or self.config.proposals,
        )
        return jax.vmap(lambda scores, moves: one(scores, moves))(objectness, offsets)

    def classify_boxes(
        self, seen: Seen, boxes_xyxy: Float[Array, "b t 4"]
    ) -> tuple[Float[Array, "b t k"], Float[Array, "b t k2 4"]]:
        """Returns logits for every box, and offsets from it for every class or one for all."""
        b, t, _ = boxes_xyxy.shape
        regions = self._regions(seen, boxes_xyxy, self.parts.box_regions)
        said = self._run(self.parts.box_head, regions)
        return said["classes"].reshape(b, t, -1), said["offsets"].reshape(b, t, -1, 4)

    def segment_boxes(
        self, seen: Seen, boxes_xyxy: Float[Array, "b t 4"]
    ) -> Float[Array, "b t m m k"]:
        """Returns the logits of a mask of every box for every class, or one for all."""
        b, t, _ = boxes_xyxy.shape
        regions = self._regions(seen, boxes_xyxy, self.parts.mask_regions)
        masks = self._run(self.parts.mask_head, regions)["masks"]
        return masks.reshape(b, t, *masks.shape[1:])

    def _run(self, part: Graph, inputs: Array) -> dict[str, Array]:
        function = _quantized(part, self.kernels)
        return function(self.parts.weights_of(part, self.weights), self.qparams, inputs)

    def _regions(
        self, seen: Seen, boxes_xyxy: Float[Array, "b t 4"], config: RegionConfig
    ) -> Float[Array, "r s s c"]:
        regions = jax.vmap(functools.partial(read_regions, config=config))(seen.maps, boxes_xyxy)
        return regions.reshape(-1, *regions.shape[2:])


@functools.lru_cache(maxsize=32)
def _quantized(part: Graph, kernels: Kernels) -> QuantizedGraph:
    """Returns a part in integers, always the same one: what JAX compiled of it is kept with it."""
    return fake_quant(part, kernels)


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedDetector:
    """A two-stage detector's graph in integers as `fit` and `evaluate` take it.

    Params and state are those of `attokit.quantization.QuantizedNetwork`. Inference is the whole graph, from
    images to what is found; training gives a `Lesson` of {"images", "objects"}.

    Attributes:
      graph: As traced, whole.
      kernels: Whose rounding to use.
      config: Of the network that was traced.
      training: What is learned from.
    """

    graph: Graph
    kernels: Kernels
    config: MaskRCNNConfig
    training: MaskRCNNTrainConfig

    @functools.cached_property
    def parts(self) -> TwoStage:
        """The networks of the graph."""
        return cut_two_stage(self.graph)

    @functools.cached_property
    def whole(self) -> QuantizedGraph:
        """The graph in integers."""
        return fake_quant(self.graph, self.kernels)

    def __call__(
        self, params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[Any, PyTree]:
        """Returns (outputs, the same state), as the loop wants it."""
        qparams = with_scales(model_state, params["log_scales"])
        if not train:
            return self.whole(params["weights"], qparams, inputs), model_state
        stages = QuantizedStages(
            config=self.config,
            parts=self.parts,
            kernels=self.kernels,
            weights=params["weights"],
            qparams=qparams,
        )
        images = jnp.asarray(inputs["images"])
        lesson = learn(stages, images, inputs["objects"], key, self.training)  # type: ignore[arg-type]
        return lesson, model_state
