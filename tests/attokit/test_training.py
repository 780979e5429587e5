import pytest

from attokit.training import train_float, write_labels


def test_refuses_another_number_of_classes(tiny, dataset, tmp_path, console):
    with pytest.raises(ValueError, match="set num_classes=3"):
        train_float("tiny", {"num_classes": 4}, "x", dataset, tiny.config, tmp_path / "run",
                    console=console)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_labels(tmp_path):
    write_labels(tmp_path / "labels.txt", ("T-shirt/top", "Trouser"))
    assert (tmp_path / "labels.txt").read_text() == "T-shirt/top\nTrouser\n"
    with pytest.raises(OSError, match="cannot write"):
        write_labels(tmp_path / "no" / "labels.txt", ("a",))
