import numpy as np
import pytest
from PIL import Image

from attokit.train.instance_records import ImageObjects, InstanceRecord, instance_record_source
from attokit.train.instances import MASK_SIZE, check_instances
from attokit.train.mask_rle import paste_mask, unpack_bits

SIZE = (30, 60)
BOXES = np.array([[4, 6, 30, 26], [20, 10, 50, 28], [0, 0, 8, 8], [40, 2, 40, 9]], np.float32)


def _masks():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    masks = []
    for left, top, right, bottom in BOXES:
        across, down = max(right - left, 1) / 2, (bottom - top) / 2
        masks.append(((x - left) / across - 1) ** 2 + ((y - top) / down - 1) ** 2 < 1)
    return np.stack(masks)


def _record(tmp_path, labels, masks=None, boxes=BOXES):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((*SIZE, 3), 7, np.uint8)).save(path)
    objects = ImageObjects(boxes, np.array(labels, np.int32), _masks() if masks is None else masks)
    return InstanceRecord(path, lambda size: objects)


def test_images_boxes_and_masks_are_fitted_together(tmp_path):
    records = [_record(tmp_path, [1, -2, 3, 1])] * 2
    batch = instance_record_source("x", records, (24, 24, 3), exact=True, max_boxes=5).read(
        np.arange(2)
    )
    check_instances(batch, 4)
    assert batch["image_info"].shape == (2, 4, 2)
    np.testing.assert_array_equal(batch["box_labels"][1], [1, -2, 3, 0, 0])  # one had no area
    np.testing.assert_allclose(batch["boxes"][0, :3], 0.4 * BOXES[:3], rtol=1e-5)
    # The pictures and the exact pixels say the same, and objects overlap in both.
    masks = unpack_bits(batch["instance_bits"][0], 24)
    assert (masks[0] & masks[1]).any() and not masks[3:].any()
    for row in range(3):
        pasted = paste_mask(batch["instance_masks"][0, row], batch["boxes"][0, row], (24, 24))
        assert np.mean(pasted != masks[row]) < 0.01
    assert batch["instance_masks"].shape == (2, 5, MASK_SIZE, MASK_SIZE)


def test_training_has_no_exact_pixels(tmp_path):
    record = _record(tmp_path, [1, 1, 1, 1])
    batch = instance_record_source("x", [record], (24, 24, 1), exact=False).read(np.zeros(1, int))
    assert "instance_bits" not in batch and batch["images"].shape == (1, 24, 24, 1)


def test_an_image_without_objects(tmp_path):
    record = _record(tmp_path, [], np.zeros((0, *SIZE), bool), np.zeros((0, 4), np.float32))
    batch = instance_record_source("x", [record], (24, 24, 3), exact=True).read(np.zeros(1, int))
    check_instances(batch, 2)
    assert not batch["box_labels"].any() and not batch["instance_bits"].any()


def test_the_largest_stay_and_that_is_told_once(tmp_path):
    source = instance_record_source(
        "few", [_record(tmp_path, [1, 2, 3, 1])], (30, 60, 3), exact=True, max_boxes=2
    )
    with pytest.warns(
        UserWarning, match="an image of few has 3 boxes, a batch holds the 2"
    ) as told:
        batch = source.read(np.zeros(3, int))
    assert len(told) == 1
    np.testing.assert_array_equal(batch["box_labels"][2], [1, 2])
    np.testing.assert_array_equal(unpack_bits(batch["instance_bits"][2], 60), _masks()[:2])


def test_an_object_without_pixels_does_not_count(tmp_path):
    masks = _masks()
    masks[1] = False
    batch = instance_record_source(
        "x", [_record(tmp_path, [1, 2, 3, 1], masks)], (30, 60, 3), exact=False
    ).read(np.zeros(1, int))
    np.testing.assert_array_equal(batch["box_labels"][0, :4], [1, -2, 3, 0])


def test_boxes_that_reach_outside_are_cut_off(tmp_path):
    boxes = np.array([[-9, -5, 20, 90], [70, 2, 80, 9]], np.float32)
    record = _record(tmp_path, [1, 1], np.ones((2, *SIZE), bool), boxes)
    batch = instance_record_source("x", [record], (*SIZE, 3), exact=False).read(np.zeros(1, int))
    np.testing.assert_array_equal(batch["boxes"][0, :2], [[0, 0, 20, 30], [0, 0, 0, 0]])


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "a.png").write_text("x")
    record = InstanceRecord(tmp_path / "a.png", lambda size: None)
    with pytest.raises(ValueError, match=r"cannot read the image .*a.png"):
        instance_record_source("x", [record], (8, 8, 3), exact=False).read(np.zeros(1, int))
