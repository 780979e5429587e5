"""What a detector finds: its offsets and logits decoded, the best of each place kept, padded rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.train.anchors import Anchors
from attokit.zoo.iou import box_area
from attokit.zoo.nms import non_max_suppression
from attokit.zoo.sizes import check_share


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindConfig:
    """Which of a detector's boxes are answers.

    Attributes:
      score_threshold: Probability that an answer must be above; low, for an average precision that sees
        rare finds too.
      iou_threshold: Of two boxes of one class that overlap more, the better is kept.
      candidates: How many of the most probable (anchor, class) of an image are looked at; what they cost
        grows with the square.
      most: Answers for one image.
    """

    score_threshold: float = 0.01
    iou_threshold: float = 0.45
    candidates: int = 400
    most: int = 100

    def __post_init__(self) -> None:
        """Refuses thresholds that are no shares and empty answers."""
        check_share(self, "score_threshold", "iou_threshold")
        if not 1 <= self.most <= self.candidates:
            raise ValueError(
                f"most={self.most} of candidates={self.candidates}: give at least 1 answer, and no "
                "fewer candidates"
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detections:
    """Answers for images, the most probable first.

    Attributes:
      boxes_xyxy: In pixels, inside the image.
      scores: Probabilities; 0 in rows that are not used.
      labels: Classes from 1 on; 0 in rows that are not used.
    """

    boxes_xyxy: Float[Array, "b m 4"]
    scores: Float[Array, "b m"]
    labels: Int[Array, "b m"]

    def kept(self, used: Bool[Array, "*b m"]) -> "Detections":
        """Returns them with the other rows not used."""
        return Detections(
            boxes_xyxy=jnp.where(used[..., None], self.boxes_xyxy, 0.0),
            scores=jnp.where(used, self.scores, 0.0),
            labels=jnp.where(used, self.labels, 0),
        )


def find_objects(
    offsets: Float[Array, "b p 4"],
    logits: Float[Array, "b p k"],
    anchors: Anchors,
    config: FindConfig | None = None,
) -> Detections:
    """Returns the answers for images: boxes that no better one of their class overlaps too much.

    A box of which nothing is inside the image is no answer, and neither is one that is NaN.

    Args:
      offsets: From the anchors.
      logits: Of classes, the first of the background.
      anchors: In the order of both.
      config: The thresholds; the defaults if None.
    """
    find = functools.partial(_find, anchors=anchors, config=config or FindConfig())
    return jax.vmap(find)(offsets.astype(jnp.float32), logits.astype(jnp.float32))


def _find(
    offsets: Float[Array, "p 4"],
    logits: Float[Array, "p k"],
    *,
    anchors: Anchors,
    config: FindConfig,
) -> Detections:
    height, width = anchors.image_size
    probabilities = jax.nn.softmax(logits)[:, 1:]  # [p, k - 1]
    objects = probabilities.shape[1]
    # NaN is above nothing, so it is no candidate.
    candidates = jnp.where(probabilities > config.score_threshold, probabilities, -jnp.inf)
    scores, places = jax.lax.top_k(
        candidates.reshape(-1), min(config.candidates, candidates.size)
    )  # [n]
    labels = (places % objects + 1).astype(jnp.int32)
    limits = jnp.array([width, height, width, height], jnp.float32)
    boxes = jnp.clip(anchors.decode(offsets)[places // objects], 0.0, limits[None])
    # What lies outside of the image has no area in it; nor has what is NaN.
    scores = jnp.where(box_area(boxes) > 0, scores, -jnp.inf)
    kept, valid = non_max_suppression(
        boxes,
        scores,
        iou_threshold=config.iou_threshold,
        max_outputs=config.most,
        groups=labels,
    )
    found = Detections(boxes_xyxy=boxes[kept], scores=scores[kept], labels=labels[kept])
    return found.kept(valid)
