"""A folder laid out as PASCAL VOC's instances are."""

import numpy as np
from PIL import Image

SIZE = (20, 30)


def voc_folder(root, names=("a",), classes=(1, 20)):
    """Two objects with a border of 255 around the second; the first class is an aeroplane."""
    numbers = np.zeros(SIZE, np.uint8)
    numbers[2:10, 3:12], numbers[4:19, 14:29], numbers[5:18, 15:28] = 1, 255, 2
    meant = np.zeros(SIZE, np.uint8)
    meant[numbers == 1], meant[numbers == 2], meant[numbers == 255] = *classes, 255
    for folder in (
        "JPEGImages",
        "SegmentationObject",
        "SegmentationClass",
        "ImageSets/Segmentation",
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
        for kind, ids in (("Object", numbers), ("Class", meant)):
            image = Image.fromarray(ids).convert("P")
            image.putdata(ids.reshape(-1).tolist())
            image.save(root / f"Segmentation{kind}" / f"{name}.png")
    for split in ("train", "val"):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names))
