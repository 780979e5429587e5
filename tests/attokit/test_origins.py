import shutil

import numpy as np
import pytest

from attokit import export
from attokit.origins import is_name, open_origin, own_file
from attokit.precision import Precision
from attokit.runs import load_quantized, open_run, save_quantized


def test_run(finished):
    origin = open_origin(str(finished[0]))
    file = export.to_tflite(origin.graph, origin.weights, origin.qparams)
    assert file == (finished[0] / "model.tflite").read_bytes()
    assert origin.class_names == ("dark", "grey", "bright")
    assert origin.data == "fashion_mnist_subset"
    assert open_origin(str(finished[0]), as_float=True).qparams is None


def test_pretrained(finished, hub):
    hub(finished[0], "tiny.here", ("a", "b", "c"))
    assert is_name("tiny.here")
    with pytest.raises(ValueError, match="must be calibrated"):
        open_origin("tiny.here")
    origin = open_origin("tiny.here", data="fashion_mnist_subset")
    _, weights = open_run(finished[0]).trace()
    assert not origin.random
    assert origin.class_names == ("a", "b", "c")
    hub(finished[0], "tiny.here", ("a", "b", "c"), data="fashion_mnist_subset")
    own = open_origin("tiny.here")
    assert own.data == "fashion_mnist_subset"
    assert own.qparams is not None
    for name, value in weights.items():
        np.testing.assert_array_equal(origin.weights[name], value)


@pytest.mark.slow
def test_model_by_name_is_the_same_again(tiny):
    files = []
    for _ in range(2):
        origin = open_origin("tiny", overrides=["width=8"])
        assert origin.random
        files.append(export.to_tflite(origin.graph, origin.weights, origin.qparams))
    assert files[0] == files[1]


def test_types_of_a_model_by_name(tiny):
    precision = Precision(int16=("mean",), float32=("head",))
    graph = open_origin("tiny", precision=precision).graph
    assert [graph.tensors[n].integer_type for n in ("conv", "mean", "head")] == [
        "int8", "int16", "float32",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="a float32 file has no int16, float32: leave them out"):
        open_origin("tiny", as_float=True, precision=precision)


def test_nothing(finished):
    assert not is_name("nothing")
    with pytest.raises(ValueError, match="no model 'nothing'"):
        open_origin("nothing")
    with pytest.raises(ValueError, match="is no folder"):
        open_origin("runs/nothing")
    with pytest.raises(ValueError, match="leave --data out"):
        open_origin(str(finished[0]), data="fashion_mnist_subset")


def test_only_the_end_of_a_run_may_change(segmented):
    folder = str(segmented[0])
    full = open_origin(folder)
    small = open_origin(folder, overrides=["output=quarter"])
    ids = open_origin(folder, overrides=["output=argmax"])
    images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    logits, quarter, found = (
        next(iter(export.run(file, images, kernels="reference", dequantize=True).values()))
        for file in (export.to_tflite(o.graph, o.weights, o.qparams) for o in (full, small, ids))
    )
    np.testing.assert_array_equal(found, logits.argmax(-1))
    # The first pixel of the large map is that of the small one: the nearest centre is its own.
    np.testing.assert_array_equal(logits[:, 0, 0], quarter[:, 0, 0])
    np.testing.assert_array_equal(logits[:, -1, -1], quarter[:, -1, -1])
    for overrides, text in (
        (["width=4"], "was not trained with width=4"),
        (["leaky=true"], "which has a range of its own; only fields that choose how"),
        (["output=full"], "change nothing of the run"),
        (["ouput=full"], "did you mean output"),
    ):
        with pytest.raises(ValueError, match=text):
            open_origin(folder, overrides=overrides)


def test_types_of_an_end_that_is_gone_are_left_out(segmented, tmp_path):
    run = open_run(shutil.copytree(segmented[0], tmp_path / "run"))
    (end,) = open_origin(str(run.path)).graph.outputs
    weights, qparams = load_quantized(run.quantized_path)
    own = Precision(float32=(end,))
    save_quantized(run.quantized_path, weights, qparams, own.metadata())
    assert [op.outputs for op in open_origin(str(run.path)).graph.float_ops] == [(end,)]
    assert not open_origin(str(run.path), overrides=["output=quarter"]).graph.float_ops


def test_own_file(segmented):
    folder = segmented[0]
    assert own_file(str(folder)) == folder / "model.tflite"
    assert own_file(str(folder), as_float=True) == folder / "model_float.tflite"
    other = own_file(str(folder), overrides=["output=argmax", "scale=1.5"])
    assert other == folder / "model_argmax_1-5.tflite"
    assert str(own_file("tiny", overrides=["width=2"])) == "tiny.tflite"
