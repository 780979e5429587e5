import numpy as np
import pytest

from attokit.train.instances import check_instances

BATCH = {
    "images": np.zeros((2, 16, 20, 3), np.uint8),
    "boxes": np.tile(np.array([[[1, 2, 9, 8], [0, 0, 0, 0]]], np.float32), (2, 1, 1)),
    "box_labels": np.array([[1, 0], [-2, 0]], np.int32),
    "instance_masks": np.zeros((2, 2, 8, 8), np.uint8),
    "instance_bits": np.zeros((2, 2, 16, 3), np.uint8),
}


def test_good_batches_pass():
    check_instances(BATCH, 3)
    check_instances({n: a for n, a in BATCH.items() if n != "instance_bits"}, 3)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"instance_masks": None}, "but no instance_masks: give a picture of every box"),
        ({"instance_masks": np.zeros((2, 3, 8, 8), np.uint8)}, r"shape \(2, 3, 8, 8\) do not fit"),
        ({"instance_masks": np.zeros((2, 2, 8, 6), np.uint8)}, "give a square picture"),
        ({"instance_masks": np.zeros((2, 2, 8, 8), bool)}, "instance_masks are bool: give uint8"),
        ({"instance_bits": np.zeros((2, 2, 16, 20), np.uint8)}, "pack the pixels of every row"),
        ({"box_labels": np.array([[1, 0], [3, 0]])}, "box_labels hold 3, but the objects' classes"),
        ({"boxes": BATCH["boxes"] * np.nan}, "boxes hold .*nan"),
        ({"boxes": BATCH["boxes"][..., [2, 1, 0, 3]]}, "right and bottom may not be below"),
    ],
)
def test_what_is_no_instance_is_refused(fields, match):
    batch = {name: a for name, a in (BATCH | fields).items() if a is not None}
    with pytest.raises(ValueError, match=match):
        check_instances(batch, 3)
