"""Folders laid out as COCO is, with images of 50x100 pixels."""

import json

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}]


def coco_folder(root, annotations, split="train2017", categories=CATEGORIES, images=2):
    """Writes the JSON file of a split and its images, with ids from 7 on; the second is lighter."""
    (root / "annotations").mkdir(exist_ok=True)
    (root / split).mkdir()
    rows = []
    for number in range(images):
        Image.fromarray(np.full((50, 100, 3), 60 * number, np.uint8)).save(
            root / split / f"{number}.png"
        )
        rows.append({"id": 7 + number, "file_name": f"{number}.png", "width": 100, "height": 50})
    content = {"images": rows, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def coco_object(image, category, box, **more):
    """Returns an annotation whose mask is its box."""
    x, y, w, h = box
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    known = {"id": 4, "image_id": image, "category_id": category, "bbox": box}
    return known | {"segmentation": [corners]} | more
