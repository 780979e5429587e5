"""A TFDS set of six pictures, to prepare on the spot."""

import io

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image


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
            png = io.BytesIO()
            Image.fromarray(np.full((6, 8, 3), 200 * (index % 2), np.uint8)).save(png, "PNG")
            png.seek(0)
            yield index, {"image": png, "label": index % 2}


class TinyNumbers(TinyShapes):
    """The same with a label that is just a number."""

    LABEL = tfds.features.Scalar(np.int64)
