import pytest
from PIL import Image
from tiny_coco import coco_folder, coco_object

from attokit.cli import main


def test_inspect_draws_examples(tiny, tmp_path, capsys):
    file = tmp_path / "samples.png"
    arguments = ["data", "inspect", "fashion_mnist_subset", "--output", str(file), "--count", "8"]
    assert main([*arguments, "--augment.flip"]) == 0
    out = capsys.readouterr().out
    assert "classification, train 96, test 37; images 8x8x1; 3 classes: dark, grey, bright" in out
    assert f"wrote {file}" in " ".join(out.split())
    with Image.open(file) as picture:
        assert picture.size[0] > 500


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segmentation", "detection", "instance_segmentation"])
def test_scenes(tiny, tmp_path, task):
    file = tmp_path / "samples.png"
    arguments = ["data", "inspect", "scenes", "--task", task, "--count", "2"]
    assert main([*arguments, "--output", str(file)]) == 0
    assert file.stat().st_size > 1000


def test_exact_pixels_are_shown_but_not_varied(tmp_path, capsys):
    for split, numbers in (("train2017", 2), ("val2017", 1)):
        rows = [coco_object(7 + n, 3, [10, 10, 40, 30]) for n in range(numbers)]
        coco_folder(tmp_path, rows, split, images=numbers)
    file = tmp_path / "samples.png"
    arguments = ["data", "inspect", str(tmp_path), "--task", "instance_segmentation"]
    arguments += ["--image-size", "32", "32", "3", "--split", "val", "--output", str(file)]
    assert main(arguments) == 0
    assert "instance_segmentation, train 2, val 1" in capsys.readouterr().out
    assert file.stat().st_size > 1000
    assert main([*arguments, "--augment.flip"]) == 1
    assert "exact pixels of a split to evaluate on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["inspect", "nowhere"], "no data 'nowhere'"),
        (["inspect", "scenes", "--count", "0"], "count is 0: give 1 to 200"),
        (["inspect", "fashion_mnist_subset", "--split", "val"], "has no split 'val'"),
        (["show", "scenes"], "inspect"),
        (["inspect", "scenes", "--augment.cutmix", "1"], "part of the step"),
    ],
)
def test_bad_input(tiny, tmp_path, capsys, arguments, text):
    file = tmp_path / "samples.png"
    assert main(["data", *arguments, "--output", str(file)]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert not file.exists()
