import numpy as np
import pytest

from attokit.train.evaluation import evaluate
from attokit.train.mesh import make_mesh
from attokit.train.task import classification_task

TASK = classification_task()


def test_batch_size_and_mesh_do_not_matter(forward, network, dataset):
    source = dataset.split("test")
    small = evaluate(forward, *network, source, TASK, batch_size=8)
    whole = evaluate(forward, *network, source, TASK, batch_size=21)
    spread = evaluate(forward, *network, source, TASK, batch_size=16, mesh=make_mesh())
    assert small["confusion"].sum() == len(source)
    for other in (whole, spread):
        np.testing.assert_array_equal(small["confusion"], other["confusion"])
        assert small["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_callback_can_end_it(forward, network, dataset):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(forward, *network, dataset.split("test"), TASK, batch_size=8, on_batch=stop)


def test_a_batch_grows_to_what_the_mesh_divides(forward, network, dataset):
    split, mesh = dataset.split("test"), make_mesh()
    small, whole = (
        evaluate(forward, *network, split, TASK, batch_size=size, mesh=mesh) for size in (10, 16)
    )
    assert small["loss"] == whole["loss"]
