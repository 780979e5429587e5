import numpy as np
import pytest
from PIL import Image

from attokit.train.image_folder import fit_image, load_image_folder


def _folder(root):
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (12, 8), (label * 200, 10, 20)).save(folder / "1.png")
    return root


def test_reads_classes_in_order(tmp_path):
    dataset = load_image_folder(_folder(tmp_path), (4, 4, 3))
    assert dataset.class_names == ("cat", "dog")
    batch = dataset.split("test").read(np.array([1, 0]))
    assert batch["labels"].tolist() == [1, 0]
    assert batch["images"][:, 0, 0].tolist() == [[200, 10, 20], [0, 10, 20]]


def test_fit_covers_and_crops_the_centre():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 255
    out = fit_image(Image.fromarray(pixels), (4, 4, 1))
    assert out.shape == (4, 4, 1)
    assert out.min() == 255


def test_hidden_names_are_skipped(tmp_path):
    root = _folder(tmp_path / ".cache" / "pets")
    for hidden in (".git", "train/.ipynb_checkpoints", "test/.other", "train/cat/.thumbs"):
        (root / hidden).mkdir()
    for hidden in (
        "train/cat/._1.png",
        "train/cat/.thumbs/1.png",
        "train/.ipynb_checkpoints/1.png",
    ):
        (root / hidden).write_bytes(b"no image")
    dataset = load_image_folder(root, (4, 4, 3))
    assert dataset.class_names == ("cat", "dog")
    assert sorted(dataset.splits) == ["test", "train"]
    assert len(dataset.split("train")) == 2


def test_damaged_image_is_named(tmp_path):
    _folder(tmp_path)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read the image .*cat/1\.png"):
        load_image_folder(tmp_path, (4, 4, 3)).split("train").read(np.array([0]))


def test_wrong_folders(tmp_path):
    with pytest.raises(ValueError, match="no folder train"):
        load_image_folder(tmp_path)
    _folder(tmp_path)
    with pytest.raises(ValueError, match="has 2 channels"):
        load_image_folder(tmp_path, (4, 4, 2))
    (tmp_path / "test" / "fox").mkdir()
    with pytest.raises(ValueError, match="has classes fox"):
        load_image_folder(tmp_path)
