import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from attokit.train.tfds_source import load_tfds


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Two classes that differ by brightness."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["dark", "bright"]),
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


@pytest.fixture
def data_dir(tmp_path):
    TinyShapes(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_reads_without_tensorflow(data_dir, channels):
    dataset = load_tfds("tiny_shapes", (4, 4, channels), data_dir=data_dir, download=False)
    assert dataset.class_names == ("dark", "bright")
    assert (len(dataset.split("train")), len(dataset.split("test"))) == (4, 2)
    batch = dataset.split("train").read(np.arange(4))
    assert batch["images"].shape == (4, 4, 4, channels)
    assert batch["images"].dtype == np.uint8
    np.testing.assert_array_equal(batch["images"][:, 0, 0, 0], 200 * batch["labels"])


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match="TFDS cannot provide 'no_such_set'"):
        load_tfds("no_such_set", (4, 4, 3), data_dir=tmp_path, download=False)
