"""TFDS sets of six pictures, to prepare on the spot."""

import io

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image


def _png(pixels):
    """As a file: TFDS packs an array only with TensorFlow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Two classes that differ by brightness."""

    pkg_dir_path = epath.Path(__file__).parent  # TFDS would look for a package
    VERSION = tfds.core.Version("1.0.0")
    LABEL = tfds.features.ClassLabel(names=["dark", "bright"])

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "label": self.LABEL,
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

    def _generate_examples(self, count=0):
        for index in range(count):
            image = np.full((6, 8, 3), 200 * (index % 2), np.uint8)
            yield index, {"image": _png(image), "label": index % 2}


class TinyNumbers(TinyShapes):
    """The same with a label that is just a number."""

    LABEL = tfds.features.Scalar(np.int64)


class TinyMasks(TinyShapes):
    """Pictures of two halves with their masks, and a border without a class."""

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "segmentation_mask": tfds.features.Image(
                    shape=(None, None, 1), encoding_format="png", use_colormap=False
                ),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _generate_examples(self, count=0):
        for index in range(count):
            mask = np.zeros((6, 8), np.uint8)
            mask[:, 4:], mask[0] = 1, 255
            image = np.repeat(100 * mask[..., None], 3, -1)
            yield index, {"image": _png(image), "segmentation_mask": _png(mask)}


class TinyFaces(TinyShapes):
    """Pictures with boxes, as `wider_face` has them: two faces, one of which does not count, or none."""

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "faces": tfds.features.Sequence(
                    {"bbox": tfds.features.BBoxFeature(), "invalid": np.bool_}
                ),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _generate_examples(self, count=0):
        for index in range(count):
            image = np.zeros((20, 40, 3), np.uint8)
            boxes = [(0.1, 0.25, 0.6, 0.5), (0.5, 0.5, 1.0, 0.75)]  # top, left, bottom, right
            faces = [{"bbox": tfds.features.BBox(*box), "invalid": box[0] == 0.5} for box in boxes]
            yield index, {"image": _png(image), "faces": faces if index else []}


class TinyObjects(TinyFaces):
    """The same with classes, as `coco` and `voc` have them."""

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "objects": tfds.features.Sequence(
                    {"bbox": tfds.features.BBoxFeature(), "label": self.LABEL}
                ),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _generate_examples(self, count=0):
        for index, example in super()._generate_examples(count):
            objects = [
                {"bbox": face["bbox"], "label": int(face["invalid"])} for face in example["faces"]
            ]
            yield index, {"image": example["image"], "objects": objects}
