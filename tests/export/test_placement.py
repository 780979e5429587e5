import jax
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from coral_networks import convolved, network, weights_of
from mutated_files import mutated

from attokit import export
from attokit.export import edge_tpu, flatbuffer


def _with(file, change):
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    change(model)
    return edge_tpu(export.inspect(flatbuffer.pack(model)))


def test_a_file_that_fits(small):
    report = edge_tpu(export.inspect(small.file))
    assert report.fits and report.refused is None and report.first_cpu is None
    assert len(report.on_tpu) == len(small.graph.ops)
    info = export.inspect(small.file)
    wanted = sum(t.size for t in info.main.tensors if t.is_parameter)
    assert report.parameter_bytes == report.cached_bytes == wanted
    text = str(report)
    assert "fits, 5 of 5 operators" in text
    assert "what to change" not in text


@pytest.mark.parametrize(("ends", "outside"), [("uint8", 0), ("float32", 2)])
def test_conversions_at_the_ends_stay_outside(small, ends, outside):
    file = export.to_tflite(
        small.graph, small.weights, small.qparams, input_type=ends, output_type=ends
    )
    report = edge_tpu(export.inspect(file))
    assert report.fits
    assert len(report.placements) - len(report.on_tpu) == outside
    assert report.on_tpu[-1].place == "tpu"


def test_everything_behind_the_first_that_leaves_runs_on_the_cpu():
    variables = weights_of(one=(3, 3, 3, 4), two=(3, 3, 4, 4))

    def function(v, x):
        return convolved(jax.nn.hard_swish(convolved(x, v["one"])), v["two"])

    net = network(function, variables, 6, 6, 3)
    report = edge_tpu(export.inspect(export.to_tflite(net.graph, net.weights, net.qparams)))
    assert [p.place for p in report.placements] == ["tpu", "cpu", "cpu"]
    assert report.first_cpu.kind == "HARD_SWISH"
    assert not report.fits
    assert report.parameter_bytes == report.placements[0].parameter_bytes
    assert "1 of 3 operators on the TPU" in str(report)
    assert "first to leave: operator 1, HARD_SWISH" in str(report)
    assert "behind the first that leaves" in str(report)


def test_what_is_too_large_is_sent_for_every_image(monkeypatch, small):
    report = edge_tpu(export.inspect(small.file))
    first = report.placements[0].parameter_bytes
    monkeypatch.setattr("attokit.export.placement.CACHE_BYTES", first + 1)
    assert report.cached_bytes == first < report.parameter_bytes


def _no_batch(model):
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    tensor.shapeSignature = np.asarray([-1, *tensor.shape[1:]], np.int32)


def _batch(model):
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    tensor.shape = np.asarray([2, *tensor.shape[1:]], np.int32)


def _twice(model):
    model.subgraphs.append(model.subgraphs[0])


def _calling(model):
    _twice(model)
    model.operatorCodes.append(schema.OperatorCodeT(127, None, 1, schema.BuiltinOperator.CALL_ONCE))
    options = schema.CallOnceOptionsT(initSubgraphIndex=1)
    nothing = np.zeros(0, np.int32)
    model.subgraphs[0].operators.insert(
        0,
        schema.OperatorT(
            opcodeIndex=len(model.operatorCodes) - 1,
            inputs=nothing,
            outputs=nothing,
            builtinOptionsType=schema.BuiltinOptions.CallOnceOptions,
            builtinOptions=options,
        ),
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_no_batch, "not fixed"),
        (_batch, "a batch of 2"),
        (_twice, "2 subgraphs of several signatures"),
        (_calling, "(control flow), 1 of them"),
    ],
)
def test_files_that_are_refused_whole(small, change, text):
    report = _with(small.file, change)
    assert not report.fits and not report.on_tpu
    assert text in str(report.refused)
    assert f"Edge TPU: refused. {report.refused}" in str(report)


def test_float_files_are_refused(small):
    report = edge_tpu(export.inspect(export.to_tflite(small.graph, small.weights)))
    assert "nothing in it is quantized" in str(report)


def _answers(file, seeds):
    """Returns how often a damaged file was answered, and how often refused in one line."""
    answers = refusals = 0
    for seed in seeds:
        try:
            info = export.inspect(mutated(file, seed))
            str(info), str(edge_tpu(info))
            answers += 1
        except ValueError as err:
            assert "damaged" in str(err) or "no TFLite file" in str(err), seed
            assert "\n" not in str(err)
            refusals += 1
    return answers, refusals


def test_damaged_files_give_an_answer_or_one_error(small):
    answers, refusals = _answers(small.file, range(30))
    assert answers and refusals


@pytest.mark.slow
def test_500_damaged_files_give_an_answer_or_one_error(small):
    answers, refusals = _answers(small.file, range(500))
    assert answers > 50 and refusals > 50
