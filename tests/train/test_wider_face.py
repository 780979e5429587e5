import numpy as np
import pytest

from attokit.train.wider_face import is_wider_face, read_annotations, read_wider_face

TEXT = """0--Parade/a.jpg
2
10 20 30 40 0 0 0 0 0 0
5 6 0 0 2 0 0 1 2 0
0--Parade/empty.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Crowd/b.jpg
1
1 2 3 4 0 0 0 0 0 0
"""


def test_faces_of_each_image(tmp_path):
    (tmp_path / "x.txt").write_text(TEXT)
    first, empty, last = read_annotations(tmp_path / "x.txt", tmp_path / "images")
    assert first.image == tmp_path / "images" / "0--Parade" / "a.jpg"
    np.testing.assert_array_equal(first.boxes_xyxy, [[10, 20, 40, 60], [5, 6, 5, 6]])
    np.testing.assert_array_equal(first.labels, [1, -1])  # invalid ones do not count
    assert empty.boxes_xyxy.shape == (0, 4) and empty.labels.shape == (0,)
    np.testing.assert_array_equal(last.boxes_xyxy, [[1, 2, 4, 6]])


def test_an_image_without_faces_may_have_no_line_for_them(tmp_path):
    (tmp_path / "x.txt").write_text("a.jpg\n0\nb.jpg\n1\n1 2 3 4\n")
    first, second = read_annotations(tmp_path / "x.txt", tmp_path)
    assert len(first.labels) == 0 and second.image.name == "b.jpg"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a.jpg\nmany\n", r"line 2 of .*x.txt is 'many' where a.jpg needs the number of its faces"),
        ("a.jpg\n", "line 2 of .* is 'the end of the file'"),
        ("a.jpg\n1\n1 2 3\n", "line 3 of .* is '1 2 3' where a.jpg needs left, top, width, height"),
        ("a.jpg\n2\n1 2 3 4\n", "line 4 of .* is 'the end of the file'"),
    ],
)
def test_damaged_files(tmp_path, text, error):
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(ValueError, match=error):
        read_annotations(tmp_path / "x.txt", tmp_path)


def test_splits_that_are_there(tmp_path):
    assert not is_wider_face(tmp_path)
    (tmp_path / "wider_face_split").mkdir()
    (tmp_path / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text(TEXT)
    assert is_wider_face(tmp_path)
    assert {split: len(rows) for split, rows in read_wider_face(tmp_path).items()} == {"val": 3}
