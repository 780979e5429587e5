import numpy as np
import pytest

from attokit.train.voc_boxes import is_voc_boxes, read_objects, read_voc_boxes


def _xml(*objects):
    items = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin>"
        f"<ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, difficult, a, b, c, d in objects
    )
    return f"<annotation>{items}</annotation>"


def voc_folder(root, files, splits):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, objects in files.items():
        (root / "Annotations" / f"{name}.xml").write_text(_xml(*objects))
        (root / "JPEGImages" / f"{name}.jpg").write_text("")
    for split, names in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))


CAT, DOG = ("cat", 0, 1, 1, 10, 20), ("dog", 1, 5, 5, 6, 6)


def test_objects_count_from_0_with_exclusive_ends(tmp_path):
    (tmp_path / "a.xml").write_text(_xml(CAT, DOG))
    assert read_objects(tmp_path / "a.xml") == [
        ("cat", False, (0, 0, 10, 20)),
        ("dog", True, (4, 4, 6, 6)),
    ]


def test_classes_and_splits(tmp_path):
    voc_folder(
        tmp_path, {"a": [CAT], "b": [DOG, CAT], "c": []}, {"train": ["a", "c"], "val": ["b  1"]}
    )
    assert is_voc_boxes(tmp_path)
    names, splits = read_voc_boxes(tmp_path)
    assert names == ("background", "cat", "dog")
    assert [len(record.labels) for record in splits["train"]] == [1, 0]
    np.testing.assert_array_equal(splits["val"][0].labels, [-2, 1])  # difficult ones do not count
    assert splits["val"][0].image == tmp_path / "JPEGImages" / "b.jpg"
    chosen, splits = read_voc_boxes(tmp_path, ("background", "dog", "cat"))
    assert chosen[1] == "dog" and splits["train"][0].labels == [2]
    with pytest.raises(ValueError, match=r"b.xml has objects of class dog, which are none of cat"):
        read_voc_boxes(tmp_path, ("background", "cat"))


def test_parts_of_scut_head_are_joined(tmp_path):
    head = ("person", 0, 3, 3, 9, 9)
    for part, name in (("SCUT_HEAD_Part_A", "a"), ("SCUT_HEAD_Part_B", "b")):
        voc_folder(tmp_path / part, {name: [head]}, {"train": [name], "test": [name]})
    names, splits = read_voc_boxes(tmp_path)
    assert names == ("background", "head")
    assert [record.image.name for record in splits["test"]] == ["a.jpg", "b.jpg"]
    assert read_voc_boxes(tmp_path / "SCUT_HEAD_Part_A")[0] == names


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<annotation><object>", "cannot read boxes from .*a.xml: no element"),
        ("<a><object><name>x</name></object></a>", "an object has no bndbox/xmin"),
        (_xml(("x", 0, "one", 1, 2, 2)), "could not convert string"),
    ],
)
def test_damaged_files(tmp_path, text, error):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=error):
        read_objects(tmp_path / "a.xml")
    with pytest.raises(ValueError, match=r"cannot read boxes from .*none.xml"):
        read_objects(tmp_path / "none.xml")
