import dataclasses

import jax
import numpy as np
import pytest

from attokit.train.instance_metrics import InstancePrecision
from attokit.train.mask_rle import pack_bits
from attokit.train.mask_targets import compact_mask

SIZE = (40, 60)
BOXES = np.array([[[2, 3, 30, 33], [32, 5, 50, 25]], [[4, 4, 40, 38], [0, 0, 0, 0]]], np.float32)
LABELS = np.array([[1, 2], [2, 0]], np.int32)


def _ellipse(box):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    left, top, right, bottom = box
    across, down = max(right - left, 1) / 2, max(bottom - top, 1) / 2
    return ((x - left) / across - 1) ** 2 + ((y - top) / down - 1) ** 2 <= (right > left)


MASKS = np.array([[_ellipse(box) for box in boxes] for boxes in BOXES])


def _pictures(size):
    pictures = np.zeros((2, 2, size, size), np.uint8)
    for place in ((0, 0), (0, 1), (1, 0)):
        pictures[place] = compact_mask(MASKS[place], BOXES[place], size)
    return pictures


BATCH = {
    "images": np.zeros((2, *SIZE, 3), np.uint8),
    "boxes": BOXES,
    "box_labels": LABELS,
    "instance_masks": _pictures(28),
    "instance_bits": pack_bits(MASKS),
    "mask": np.ones(2, np.float32),
}
ANSWERS = {
    "boxes": BOXES,
    "scores": np.array([[0.9, 0.8], [0.7, 0]], np.float32),
    "classes": LABELS,
    "masks": np.float32(_pictures(28)) / np.float32(255),
    "valid": LABELS > 0,
}


def _values(answers=ANSWERS, batch=BATCH):
    return InstancePrecision.of(answers, batch, 4).on_host().compute()


def test_right_boxes_and_masks():
    values = _values()
    for kind in ("box", "mask"):
        assert values[f"{kind}_ap50"] == values[f"{kind}_ap75"] == values[f"{kind}_voc_ap50"] == 1
        np.testing.assert_array_equal(values[f"{kind}_ap50_by_class"], [1, 1, np.nan])
    assert values["box_ap"] == 1
    assert 0.9 < values["mask_ap"] <= 1  # a picture of 28 cells blurs the border
    # By the area of masks: a quarter of pi of the boxes', so that one object of 560 is small.
    assert (values["mask_ap_small"], values["mask_ap_large"]) == (1, 0)


def test_boxes_may_be_right_where_masks_are_not():
    values = _values(ANSWERS | {"masks": np.float32(_pictures(28) == 0)})
    assert values["box_ap"] == values["box_voc_ap50"] == 1
    assert values["mask_ap50"] == values["mask_voc_ap50"] == 0


def test_pictures_stand_in_for_pixels():
    batch = {name: a for name, a in BATCH.items() if name != "instance_bits"}
    assert _values(batch=batch)["mask_ap"] == 1  # then both are blurred alike
    assert _values(batch=batch)["mask_ap75"] == 1


def test_overlapping_objects_keep_their_pixels():
    """No map with one id per pixel is between: an object inside another is found whole."""
    boxes = np.array([[[2, 3, 30, 33], [8, 8, 20, 22]]], np.float32)
    masks = np.array([[_ellipse(box) for box in boxes[0]]])
    pictures = [[compact_mask(m, b, 28) for m, b in zip(masks[0], boxes[0], strict=True)]]
    batch = {name: array[:1] for name, array in BATCH.items()}
    batch |= {"boxes": boxes, "instance_bits": pack_bits(masks)}
    answers = {name: array[:1] for name, array in ANSWERS.items()} | {"boxes": boxes}
    values = _values(answers | {"masks": np.float32(pictures) / np.float32(255)}, batch)
    assert values["mask_ap75"] == 1


def test_merging_is_seeing_all_images():
    halves = [
        InstancePrecision.of(
            *({n: a[i : i + 1] for n, a in d.items()} for d in (ANSWERS, BATCH)), 4
        )
        for i in range(2)
    ]
    merged = halves[0].on_host().merge(halves[1].on_host()).compute()
    jax.tree.map(np.testing.assert_array_equal, merged, _values())


def test_filling_and_empty_places_are_left_out():
    batch = BATCH | {"mask": np.array([1, 0], np.float32)}
    found, images = InstancePrecision.of(ANSWERS, batch, 4).on_host().found()
    assert images == 1
    assert len(found.masks) == len(found.scores) == len(found.true_masks) == 2


def test_crowds_neither_count_nor_harm():
    labels = np.array([[1, -2], [2, 0]], np.int32)
    values = _values(batch=BATCH | {"box_labels": labels})
    assert values["mask_ap50"] == values["box_ap50"] == 1


def test_nothing_to_find_is_0_not_nan():
    batch = BATCH | {"box_labels": np.zeros_like(LABELS)}
    with pytest.warns(UserWarning, match="none of 2 images has an object that counts"):
        values = _values(batch=batch)
    assert values["mask_ap50"] == values["box_ap"] == 0
    assert np.isnan(values["mask_ap50_by_class"]).all()
    nothing = ANSWERS | {"valid": np.zeros_like(LABELS, bool)}
    assert _values(nothing)["mask_ap50"] == 0


def test_it_passes_through_jit():
    metric = jax.jit(lambda a, b: InstancePrecision.of(a, b, 4))(ANSWERS, BATCH)
    assert (metric.num_classes, metric.image_size) == (4, SIZE)
    assert dataclasses.replace(metric).on_host().compute()["mask_ap50"] == 1
