"""What a two-stage detector does between its networks: choosing boxes, and reading their regions.

No runtime has integer kernels for these, and boxes want more than 8 bits: files compute them on float32.  Each is a
composite of the zoo by the same name, whose function is the meaning here; `settings` are the composite's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Array

from attokit.quant.ops.kind import Op, OpKind
from attokit.zoo.detections import best_detections
from attokit.zoo.mask_rcnn import masks_of_classes
from attokit.zoo.proposals import best_proposals
from attokit.zoo.roi_align import regions_of_maps


def _applied(op: Op, function: Callable[..., Any], *operands: Array) -> tuple[Array, ...]:
    """Returns a composite's function of its operands, for each image where they come in batches.

    Attributes: `settings`; `batched`: None, or which operands have an axis of images.
    """

    def of_image(*operands: Array) -> list[Array]:
        return jax.tree.leaves(function(*operands, **op["settings"]))

    if op["batched"] is not None:
        of_image = jax.vmap(of_image, tuple(0 if own else None for own in op["batched"]))
    return tuple(of_image(*operands))


def _propose(op: Op, objectness: Array, offsets: Array, anchors: Array) -> tuple[Array, ...]:
    """Inputs: logits [n] and offsets [n, 4] of anchors, anchors [n, 4].  Outputs: boxes, scores, valid."""
    return _applied(op, best_proposals, objectness, offsets, anchors)


def _detect(op: Op, *operands: Array) -> tuple[Array, ...]:
    """Inputs: logits, offsets, boxes, valid, of regions.  Outputs: boxes, scores, classes, valid."""
    return _applied(op, best_detections, *operands)


def _read_regions(op: Op, *operands: Array) -> tuple[Array, ...]:
    """Inputs: maps [h, w, c] from fine to coarse, boxes [t, 4].  Output: [t, s, s, c]."""

    def regions(*operands: Array, **settings: Any) -> Array:
        return regions_of_maps(operands[:-1], operands[-1], **settings)

    return _applied(op, regions, *operands)


def _select_masks(op: Op, masks: Array, classes: Array) -> tuple[Array, ...]:
    """Inputs: masks [b, t, m, m, k], classes [b, t].  Output: [b, t, m, m]."""
    return _applied(op, masks_of_classes, masks, classes)


PROPOSE = OpKind(name="propose", compute=_propose, only_float=True)
DETECT = OpKind(name="detect", compute=_detect, only_float=True)
READ_REGIONS = OpKind(name="read_regions", compute=_read_regions, only_float=True)
SELECT_MASKS = OpKind(name="select_masks", compute=_select_masks, tied=True)

COMPOSITES: Sequence[str] = tuple(
    kind.name for kind in (PROPOSE, DETECT, READ_REGIONS, SELECT_MASKS)
)
