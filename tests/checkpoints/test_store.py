import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attokit.checkpoints.store import CheckpointStore


def _state(value):
    return {"w": jnp.full((8, 2), value, jnp.float32), "step": jnp.int32(value)}


def _abstract(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def test_keeps_the_latest_and_the_best(tmp_path):
    with CheckpointStore(tmp_path, keep_latest=2) as store:
        for step, accuracy in ((1, 0.2), (2, 0.9), (3, 0.3), (4, None), (5, 0.4)):
            metrics = None if accuracy is None else {"accuracy": accuracy}
            assert store.save(step, _state(step), {"at": step}, metrics=metrics)
        assert not store.save(5, _state(5), {"at": 5})
        store.wait()
        assert store.steps == (2, 4, 5)
        assert (store.best_step, store.latest_step) == (2, 5)
        step, state, position = store.restore(_abstract(_state(0)))
        assert (step, position, int(state["step"])) == (5, {"at": 5}, 5)
        assert store.restore(_abstract(_state(0)), 2)[2] == {"at": 2}


def test_smaller_can_be_better(tmp_path):
    with CheckpointStore(tmp_path, keep_latest=1, best_metric="loss", larger_is_better=False) as s:
        for step, loss in ((1, 0.5), (2, 0.1), (3, 0.3)):
            s.save(step, _state(step), {}, metrics={"loss": loss})
        s.wait()
        assert s.steps == (2, 3)
        assert s.best_step == 2


def test_without_metrics_nothing_is_best(tmp_path, caplog):
    with CheckpointStore(tmp_path) as store:
        store.save(1, _state(1), {})
        store.wait()
        assert store.best_step is None
    assert "did not provide metrics" not in caplog.text


def test_restores_onto_another_mesh(tmp_path):
    devices = np.array(jax.devices())

    def spread(count):
        sharding = NamedSharding(Mesh(devices[:count], ("x",)), PartitionSpec("x"))
        return {"w": jax.device_put(jnp.arange(8.0), sharding)}

    with CheckpointStore(tmp_path) as store:
        store.save(1, spread(8), {})
        store.wait()
        _, state, _ = store.restore(_abstract(spread(2)))
    assert len(state["w"].sharding.device_set) == 2
    np.testing.assert_array_equal(state["w"], np.arange(8.0))


def test_missing_and_foreign_checkpoints(tmp_path):
    with CheckpointStore(tmp_path) as store:
        with pytest.raises(ValueError, match="there is none"):
            store.restore(_abstract(_state(0)))
        store.save(1, _state(1), {})
        store.wait()
        with pytest.raises(ValueError, match=r"no checkpoint 7 .*there is 1"):
            store.restore(_abstract(_state(0)), 7)
        with pytest.raises(ValueError, match="does not fit this run"):
            store.restore(_abstract({"other": jnp.zeros(3)}))
