import warnings

import numpy as np
import pytest
from PIL import Image

from attokit.train.box_records import as_record, box_record_source, check_images


def _picture(path, size=(20, 40)):
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[5:15, 10:30] = 255
    Image.fromarray(pixels).save(path)
    return path


def test_images_and_boxes_are_fitted_together(tmp_path):
    record = as_record(
        _picture(tmp_path / "a.png"), [(10, 5, 30, 15), (0, 0, 4, 4), (3, 3, 3, 9)], [1, 2, 1]
    )
    empty = as_record(_picture(tmp_path / "b.png"), [], [])
    source = box_record_source("x", [record, empty], (10, 10, 1), max_boxes=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = source.read(np.arange(2))
    assert batch["images"].shape == (2, 10, 10, 1)
    # Halved, and 5 pixels cut off on either side.
    np.testing.assert_allclose(batch["boxes"][0, 0], [0, 2.5, 10, 7.5])
    np.testing.assert_array_equal(batch["box_labels"], [[1, 0, 0], [0, 0, 0]])


def test_more_boxes_than_rows(tmp_path):
    boxes = [(0, 0, 2, 2), (0, 0, 9, 9), (0, 0, 5, 5)]
    record = as_record(_picture(tmp_path / "a.png", (20, 20)), boxes, [1, 2, 3])
    source = box_record_source("few", [record], (20, 20, 3), max_boxes=2)
    with pytest.warns(UserWarning, match="an image of few has 3 boxes"):
        batch = source.read(np.zeros(1, int))
    np.testing.assert_array_equal(batch["box_labels"], [[2, 3]])


def test_bad_files(tmp_path):
    (tmp_path / "no.png").write_text("x")
    record = as_record(tmp_path / "no.png", [], [])
    with pytest.raises(ValueError, match="cannot read the image"):
        box_record_source("x", [record], (8, 8, 3)).read(np.zeros(1, int))
    with pytest.raises(ValueError, match=r"2 images of .* are missing: .*gone.png, .*lost.png;"):
        check_images(tmp_path, [tmp_path / "gone.png", record.image, tmp_path / "lost.png"])
