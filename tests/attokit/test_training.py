import dataclasses

import jax
import numpy as np
import pytest

from attokit.runs import open_run
from attokit.start_weights import open_start
from attokit.training import train_float, write_labels


def test_refuses_another_number_of_classes(tiny, dataset, tmp_path, console):
    with pytest.raises(ValueError, match="set num_classes=3"):
        train_float("tiny", {"num_classes": 4}, "x", dataset, tiny.config, tmp_path / "run",
                    console=console)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_refuses_class_ids(tiny, scenes, tmp_path, console):
    with pytest.raises(ValueError, match="leave output=argmax to attokit export"):
        train_float("tiny_pixels", {"output": "argmax"}, "x", scenes, tiny.config, tmp_path / "run",
                    console=console)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_labels(tmp_path):
    write_labels(tmp_path / "labels.txt", ("T-shirt/top", "Trouser"))
    assert (tmp_path / "labels.txt").read_text() == "T-shirt/top\nTrouser\n"
    with pytest.raises(OSError, match="cannot write"):
        write_labels(tmp_path / "no" / "labels.txt", ("a",))


def test_starts_from_the_weights_of_another_run(finished, tiny, dataset, tmp_path, console):
    first, start = open_run(finished[0]), open_start(str(finished[0]))
    config = dataclasses.replace(tiny.config, steps=1, learning_rate=1e-9)
    run, _ = train_float(
        "tiny", first.overrides, "x", dataset, config, tmp_path / "run", start=start,
        console=console,
    )  # fmt: skip
    before, after = first.variables()["params"], run.variables()["params"]
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)
