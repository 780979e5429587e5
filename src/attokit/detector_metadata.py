"""What a .tflite file of a detector says of its numbers: its prior boxes, as a line of metadata.

The outputs of the file are offsets and logits; whoever runs it finds here what they start from. One
entry, `METADATA`, holds JSON with `format` 1, `image_size` (height, width), `prior_steps` and
`prior_sizes` (pixels, for each map, as `zoo.prior_boxes` takes them) and `variances` (of centres and sizes).
"""

import json
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from attokit.train import Anchors
from attokit.zoo.box_coder import weights_of_variances
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

METADATA = "ATTOKIT_DETECTION"
_VARIANCES = (0.1, 0.2)  # of `zoo.box_coder.SSD_WEIGHTS`, which all detectors of the zoo have


def describe_anchors(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, str]:
    """Returns the metadata of a detector's file, by the name of the entry."""
    config = getattr(network, "config")  # noqa: B009  Linen modules promise none
    fields = {
        "format": 1,
        "image_size": list(image_shape[:2]),
        "prior_steps": list(config.prior_steps),
        "prior_sizes": list(config.prior_sizes),
        "variances": list(_VARIANCES),
    }
    return {METADATA: json.dumps(fields)}


def read_anchors(metadata: Mapping[str, bytes]) -> Anchors | None:
    """Returns the anchors that a file names, or None if it names none.

    Raises:
      ValueError: if the entry is damaged or of a later format.
    """
    entry = metadata.get(METADATA)
    if entry is None:
        return None
    try:
        fields: dict[str, Any] = json.loads(entry)
        if fields["format"] != 1:
            raise ValueError(f"format {fields['format']}")
        height, width = fields["image_size"]
        priors = prior_boxes_cxcywh(
            (height, width), steps=fields["prior_steps"], sizes=fields["prior_sizes"]
        )
        weights = weights_of_variances(fields["variances"])
        return Anchors.of_priors(priors, (height, width), weights)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as err:
        raise ValueError(
            f"the metadata {METADATA} is damaged or of a later version "
            f"({type(err).__name__}: {err}): export the file again"
        ) from err
