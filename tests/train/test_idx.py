import gzip
import struct

import numpy as np
import pytest

from attokit.train.idx import find_idx, read_idx

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + ARRAY.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_plain_and_packed(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(CONTENT))
    np.testing.assert_array_equal(read_idx(path, 3), ARRAY)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"<html>404</html>", "not an IDX file of 3 axes.*3c68746d"),
        (CONTENT[:10], "ends inside its header"),
        (CONTENT[:-1], "holds 23 bytes of data where its header promises 24"),
        (CONTENT + b"x", "holds 25 bytes"),
        (gzip.compress(CONTENT, mtime=0)[:-9], "cannot read"),
        (b"", "not an IDX file"),
    ],
)
def test_damaged_files(tmp_path, content, match):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_idx(path, 3)


def test_labels_are_no_images(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(CONTENT)
    with pytest.raises(ValueError, match="not an IDX file of 1 axes"):
        read_idx(path, 1)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        read_idx(tmp_path / "none", 3)


def test_find_prefers_the_plain_file(tmp_path):
    (tmp_path / "a.gz").touch()
    assert find_idx(tmp_path, "a").name == "a.gz"
    (tmp_path / "a").touch()
    assert find_idx(tmp_path, "a").name == "a"
    with pytest.raises(ValueError, match=r"no file b or b\.gz"):
        find_idx(tmp_path, "b")
