import dataclasses

import jax
import numpy as np
import pytest

from attokit import zoo
from attokit.checkpoints import load_weights, save_weights
from attokit.runs import open_run
from attokit.start_weights import Start, head_names, open_start, start_variables
from attokit.zoo import registry

SHAPE = (8, 8, 1)
HEAD = {"params/head/kernel", "params/head/bias"}


def _flat(variables):
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): np.asarray(v) for p, v in leaves}


def test_what_a_start_is(finished, hub):
    folder = finished[0]
    run = open_start(str(folder))
    assert run == Start(name=str(folder.resolve()), path=folder / "weights.safetensors")
    file = open_start(str(run.path), reset_head=True)
    assert file == Start(name=str(run.path.resolve()), path=run.path, reset_head=True)
    published = hub(folder, "tiny.here", ("a", "b", "c"))
    start = open_start("tiny.here")
    assert start == Start(name="tiny.here", path=published / "weights.safetensors")
    with pytest.raises(ValueError, match=r"no pretrained weights .*tiny\.here"):
        open_start("tiny.there")


def test_a_run_that_has_not_ended(run_dir):
    (run_dir / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="has no trained weights: train it to the end"):
        open_start(str(run_dir))


def test_the_head_is_what_knows_the_classes(tiny):
    assert head_names("tiny", {}, SHAPE) == HEAD
    assert head_names("tiny", {"num_classes": 7}, SHAPE) == HEAD


@pytest.mark.slow
def test_every_family_has_a_head():
    for family in registry._FAMILIES:
        name = min(family.variants)
        head = head_names(name, {}, zoo.config(name).image_size)
        assert head and all(n.endswith(("/kernel", "/bias")) for n in head), name


def test_another_number_of_classes(finished, tiny):
    start, before = open_start(str(finished[0])), _flat(open_run(finished[0]).variables())
    five = {"num_classes": 5}
    with pytest.raises(ValueError, match="does not fit the model in 2 places") as caught:
        start_variables(start, "tiny", five, SHAPE, seed=0)
    for part in ("params/head/bias: float32[3], expected float32[5]", "params/head/kernel: ",
                 "or add --reset-head"):  # fmt: skip
        assert part in str(caught.value)
    start = dataclasses.replace(start, reset_head=True)
    after = _flat(start_variables(start, "tiny", five, SHAPE, seed=0))
    assert after.keys() == before.keys()
    for name, value in after.items():
        if name in HEAD:
            assert value.shape[-1] == 5
        else:
            np.testing.assert_array_equal(value, before[name])
    other = _flat(start_variables(start, "tiny", five, SHAPE, seed=1))
    assert (other["params/head/kernel"] != after["params/head/kernel"]).all()


def test_the_same_number_of_other_classes(finished, tiny):
    start, before = open_start(str(finished[0])), _flat(open_run(finished[0]).variables())
    kept = _flat(start_variables(start, "tiny", {}, SHAPE, seed=0))
    for name, value in kept.items():
        np.testing.assert_array_equal(value, before[name])
    start = dataclasses.replace(start, reset_head=True)
    reset = _flat(start_variables(start, "tiny", {}, SHAPE, seed=0))
    assert (reset["params/head/kernel"] != before["params/head/kernel"]).any()
    np.testing.assert_array_equal(reset["params/conv/kernel"], before["params/conv/kernel"])


@pytest.mark.parametrize("reset_head", [False, True])
def test_another_network_is_refused_with_all_that_differs(finished, tiny, tmp_path, reset_head):
    path = tmp_path / "w.safetensors"
    variables = load_weights(finished[0] / "weights.safetensors")
    variables["params"]["conv"]["kernel"] = np.zeros((5, 5, 1, 4), np.float32)
    variables["params"]["old"] = np.zeros(1, np.float32)
    del variables["batch_stats"]["norm"]["mean"]
    save_weights(path, variables)
    start = open_start(str(path), reset_head=reset_head)
    with pytest.raises(ValueError, match="in 3 places") as caught:
        start_variables(start, "tiny", {}, SHAPE, seed=0)
    for part in ("missing: batch_stats/norm/mean", "unknown: params/old",
                 "params/conv/kernel: float32[5, 5, 1, 4], expected float32[3, 3, 1, 4]"):  # fmt: skip
        assert part in str(caught.value)
    assert "--reset-head" not in str(caught.value)
