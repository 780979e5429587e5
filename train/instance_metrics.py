"""Metrics of boxes with masks, from all answers and objects of a split."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.train.average_precision import Found, average_precision
from attokit.train.coco_average_precision import AREAS, coco_precision_by_area
from attokit.train.mask_rle import encode_masks, paste_mask, unpack_bits
from attokit.train.metrics import Collected

_AT_50, _AT_75 = 0, 5  # positions among COCO's thresholds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InstancePrecision(Collected):
    """COCO's and VOC's average precision of boxes and of masks.

    `compute` gives, for `box` and for `mask`: `box_ap` (the mean over classes and IoU 0.50 to 0.95), `box_ap50`,
    `box_ap75`, `box_ap_small`, `box_ap_medium` and `box_ap_large` (0 where a split has no object of such an area),
    `box_voc_ap50` (the exact area under the curve, as PASCAL VOC has it) and `box_ap50_by_class`, NaN for classes that
    no object has. Objects are their exact pixels where batches
    have `instance_bits`, else their pictures pasted. Masks become run lengths batch by batch, on the host.

    Attributes:
      num_classes: With the background.
      image_size: Height and width.
    """

    num_classes: int = dataclasses.field(kw_only=True, metadata={"static": True})
    image_size: tuple[int, int] = dataclasses.field(kw_only=True, metadata={"static": True})

    @classmethod
    def of(
        cls, outputs: Mapping[str, Array], batch: Mapping[str, Array], num_classes: int
    ) -> "InstancePrecision":
        """Returns the answers and objects of one batch; where its `mask` is 0, an image is none.

        Args:
          outputs: "boxes" [b, d, 4], "scores" [b, d], "classes" [b, d], "masks" [b, d, m, m] and "valid" [b, d], as
            Mask R-CNN gives them.
          batch: As `train.instances` describes it, with the `mask` of evaluation.
          num_classes: With the background.
        """
        truth = "instance_bits" if "instance_bits" in batch else "instance_masks"
        rows = {
            "boxes": outputs["boxes"],
            "scores": outputs["scores"],
            "labels": jnp.where(outputs["valid"], outputs["classes"], 0),
            "masks": jnp.round(255 * outputs["masks"]).astype(jnp.uint8),  # a quarter of the bytes
            "true_boxes": batch["boxes"],
            "true_labels": batch["box_labels"],
            f"true_{truth}": batch[truth],
            "mask": batch["mask"],
        }
        shape = batch["images"].shape
        return cls(
            (jax.tree.map(jnp.asarray, rows),),
            num_classes=num_classes,
            image_size=(shape[1], shape[2]),
        )

    def on_host(self) -> Self:
        """Returns the metric with its arrays on the host, and masks as run lengths."""
        gathered = super().on_host()
        parts = tuple(self._as_rows(part) for part in gathered.parts)
        return dataclasses.replace(gathered, parts=parts)

    def _as_rows(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what counts of a batch, a row for each answer and each object."""
        images = np.flatnonzero(np.asarray(part["mask"]) > 0)
        arrays = {name: np.asarray(array)[images] for name, array in part.items()}
        image, row = np.nonzero(arrays["labels"] > 0)
        pictures = arrays["masks"][image, row]
        boxes = arrays["boxes"][image, row]
        sides = np.maximum(arrays["true_boxes"][..., 2:] - arrays["true_boxes"][..., :2], 0)
        # What has no area cannot be found, as it could not be learned.
        used = (arrays["true_labels"] != 0) & (sides.prod(-1) > 0)
        true_image, true_row = np.nonzero(used)
        true_boxes = arrays["true_boxes"][true_image, true_row]
        if "true_instance_bits" in arrays:
            bits = arrays["true_instance_bits"][true_image, true_row]
            true_masks = unpack_bits(bits, self.image_size[1])
        else:
            true_masks = self._paste(
                arrays["true_instance_masks"][true_image, true_row], true_boxes
            )
        return {
            "count": len(images),
            "images": image,
            "boxes": boxes,
            "scores": arrays["scores"][image, row],
            "labels": arrays["labels"][image, row],
            "masks": encode_masks(self._paste(pictures, boxes)),
            "true_images": true_image,
            "true_boxes": true_boxes,
            "true_labels": arrays["true_labels"][true_image, true_row],
            "true_masks": encode_masks(true_masks),
        }

    def _paste(
        self, pictures: Float[np.ndarray, "n m m"], boxes_xyxy: Float[np.ndarray, "n 4"]
    ) -> np.ndarray:
        masks = [
            paste_mask(picture, box, self.image_size)
            for picture, box in zip(pictures, boxes_xyxy, strict=True)
        ]
        return np.stack(masks) if masks else np.zeros((0, *self.image_size), bool)

    def found(self) -> tuple[Found, int]:
        """Returns the answers and objects of all batches, and the number of images."""
        starts = np.cumsum([0, *(part["count"] for part in self.parts)])

        def joined(name: str) -> np.ndarray:
            return np.concatenate([part[name] for part in self.parts])

        def numbered(name: str) -> np.ndarray:
            pairs = zip(self.parts, starts[:-1], strict=True)
            return np.concatenate([part[name] + start for part, start in pairs])

        return (
            Found(
                boxes_xyxy=joined("boxes"),
                scores=joined("scores"),
                labels=joined("labels"),
                images=numbered("images"),
                true_boxes_xyxy=joined("true_boxes"),
                true_labels=joined("true_labels"),
                true_images=numbered("true_images"),
                masks=[mask for part in self.parts for mask in part["masks"]],
                true_masks=[mask for part in self.parts for mask in part["true_masks"]],
            ),
            int(starts[-1]),
        )

    def compute(self) -> dict[str, np.ndarray]:
        """Returns the values by name, from 0 to 1."""
        found, images = self.found()
        if not (found.true_labels > 0).any():
            warnings.warn(
                f"none of {images} images has an object that counts, so average precision is 0 whatever is "
                "found: evaluate on a split whose objects are known",
                stacklevel=2,
            )
        values: dict[str, np.ndarray] = {}
        for kind in ("box", "mask"):
            precision = coco_precision_by_area(
                found, images, self.num_classes, by_masks=kind == "mask"
            )  # [areas, t, k]
            means = {
                f"{kind}_ap": precision[0],
                f"{kind}_ap50": precision[0, _AT_50],
                f"{kind}_ap75": precision[0, _AT_75],
            } | {f"{kind}_ap_{area}": precision[i] for i, area in enumerate(AREAS) if i}
            values |= {name: np.asarray(mean_of_known(numbers)) for name, numbers in means.items()}
            voc = [
                average_precision(found, label, by_masks=kind == "mask")
                for label in range(1, self.num_classes)
            ]
            values[f"{kind}_voc_ap50"] = np.asarray(mean_of_known(np.array(voc)))
            values[f"{kind}_ap50_by_class"] = precision[0, _AT_50]
        return values


def mean_of_known(values: Float[np.ndarray, "..."]) -> float:
    """Returns the mean of what is not NaN; 0 where all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0
