import numpy as np
import pytest
from PIL import Image

from attokit.cli import main


@pytest.fixture
def picture(tmp_path):
    """A bright picture in colour, larger than the model's input."""
    path = tmp_path / "bright.jpg"
    Image.fromarray(np.full((40, 60, 3), 220, np.uint8)).save(path)
    return path


def test_names_the_class(finished, picture, capsys):
    for target in (finished[0], finished[0] / "model.tflite"):
        assert main(["predict", str(target), str(picture), "--top", "1"]) == 0
        out = capsys.readouterr().out
        assert "bright" in out.replace("bright.jpg", "")
        assert "%" in out


def test_file_without_labels(finished, picture, tmp_path, capsys):
    file = tmp_path / "alone.tflite"
    file.write_bytes((finished[0] / "model.tflite").read_bytes())
    assert main(["predict", str(file), str(picture)]) == 0
    assert "│ 2 " in capsys.readouterr().out
    (tmp_path / "names.txt").write_text("x\ny\nzebra\n")
    labels = ["--labels", str(tmp_path / "names.txt")]
    assert main(["predict", str(file), str(picture), *labels]) == 0
    assert "zebra" in capsys.readouterr().out
    (tmp_path / "names.txt").write_text("x\n")
    assert main(["predict", str(file), str(picture), *labels]) == 1
    assert "1 lines, the file 3 classes" in capsys.readouterr().err


def test_range_of_a_float_file(run_dir, picture, tmp_path, capsys):
    file = str(tmp_path / "alone.tflite")
    assert main(["export", str(run_dir), "--float", "--output", file]) == 0
    capsys.readouterr()
    assert main(["predict", file, str(picture)]) == 0
    assert "assumed 0 to 1 (--input-range" in capsys.readouterr().out
    assert main(["predict", file, str(picture), "--top", "1", "--input-range", "0", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "assumed" not in out
    assert "bright " not in out.replace("bright.jpg", "")  # a tenth of the brightness


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["RUN", "missing.png"], "cannot read the image missing.png"),
        (["RUN", "RUN/labels.txt"], "cannot read the image"),
        (["RUN", "x.png", "--top", "0"], "give at least 1"),
        (["RUN", "x.png", "--labels", "x"], "--labels is for a .tflite file"),
        (["RUN/labels.txt", "x.png"], "no TFLite file"),
    ],
)
def test_bad_input(finished, capsys, arguments, text):
    assert main(["predict", *(a.replace("RUN", str(finished[0])) for a in arguments)]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


@pytest.fixture
def squares(tmp_path):
    """The left half is dark, the right half bright."""
    path = tmp_path / "squares.png"
    pixels = np.full((32, 32, 3), 20, np.uint8)
    pixels[:, 16:] = 220
    Image.fromarray(pixels).save(path)
    return path


def test_overlays(segmented_dir, squares, tmp_path, capsys):
    assert main(["export", str(segmented_dir), "--overrides", "output=argmax"]) == 0
    capsys.readouterr()
    folder = tmp_path / "out"
    pictures = []
    for target in ("", "model.tflite", "model_argmax.tflite"):
        assert (
            main(["predict", str(segmented_dir / target), str(squares), "--output", str(folder)])
            == 0
        )
        out = capsys.readouterr().out
        assert "background" in out
        assert "bright" in out
        assert f"wrote {folder / 'squares_overlay.png'}" in out
        pictures.append((folder / "squares_overlay.png").read_bytes())
    with Image.open(folder / "squares_overlay.png") as image:
        assert image.width > image.height
    assert [path.name for path in folder.iterdir()] == ["squares_overlay.png"]  # nothing half done
    assert pictures[1] == pictures[2]


def test_wishes_of_another_task(finished, segmented, squares, tmp_path, capsys):
    assert main(["predict", str(segmented[0]), str(squares), "--top", "2"]) == 1
    assert "--top changes nothing in segmentation" in capsys.readouterr().err
    assert main(["predict", str(finished[0]), str(squares), "--output", str(tmp_path)]) == 1
    assert "--output changes nothing in classification" in capsys.readouterr().err


def test_folder_that_cannot_be(segmented, squares, tmp_path, capsys):
    assert main(["predict", str(segmented[0]), str(squares), "--output", str(squares)]) == 1
    err = capsys.readouterr().err
    assert "squares.png is a file: give a folder" in err
    assert err.count("\n") == 1
