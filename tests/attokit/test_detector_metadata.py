import json

import numpy as np
import pytest

from attokit import zoo
from attokit.detector_metadata import METADATA, describe_anchors, read_anchors
from attokit.train import network_anchors


def test_what_is_read_is_what_the_network_has():
    for name in ("rnnpool_face_m4", "rnnpool_face_quant"):
        network = zoo.create(name)
        shape = network.config.image_size
        entry = {k: text.encode() for k, text in describe_anchors(network, shape).items()}
        found, wanted = read_anchors(entry), network_anchors(network, shape[:2])
        np.testing.assert_array_equal(found.boxes_xyxy, wanted.boxes_xyxy)
        assert found.image_size == wanted.image_size == shape[:2]
        np.testing.assert_allclose(found.weights, wanted.weights)
        assert len(entry[METADATA]) < 200


def test_other_files_name_none():
    assert read_anchors({}) is None
    assert read_anchors({"min_runtime_version": b"1.5.0"}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"prior_steps": [8]},
        {"variances": [0]},
        {"image_size": 3},
        {"prior_sizes": None},
    ],
)
def test_damaged_entries(change):
    entry = json.loads(describe_anchors(zoo.create("rnnpool_face_m4"), (240, 320, 1))[METADATA])
    with pytest.raises(ValueError, match="ATTOKIT_DETECTION is damaged or of a later version"):
        read_anchors({METADATA: json.dumps(entry | change).encode()})
    with pytest.raises(ValueError, match="export the file again"):
        read_anchors({METADATA: b"\xff["})
