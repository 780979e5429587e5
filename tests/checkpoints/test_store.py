import os
import shutil
import threading
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attokit.checkpoints.store import CheckpointStore, _let_reads_end


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


def test_metrics_that_come_later_make_a_checkpoint_the_best(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save(1, _state(1), {"at": 1}, metrics={"accuracy": 0.5})
        store.save(2, _state(2), {"at": 2})
    with CheckpointStore(tmp_path) as store:
        assert store.has_metrics(1)
        assert not store.has_metrics(2)
        assert not store.save(2, _state(2), {"at": 2})
        assert store.save(2, _state(2), {"at": 2}, metrics={"accuracy": 0.7})
        assert not store.save(2, _state(2), {"at": 2}, metrics={"accuracy": 0.1})
        store.wait()
        assert (store.steps, store.best_step) == ((1, 2), 2)
        assert store.restore(_abstract(_state(0)))[2] == {"at": 2}


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


def _damage(folder, kind):
    """Makes a checkpoint unreadable in one of the ways that disks and crashes do."""
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest = files[-1]
    content = largest.read_bytes()
    if kind == "cut short":
        largest.write_bytes(content[: len(content) // 2])
    elif kind == "altered":
        middle = len(content) // 2
        largest.write_bytes(content[:middle] + bytes(x ^ 255 for x in content[middle:]))
    elif kind == "a file is gone":
        largest.unlink()
    else:
        shutil.rmtree(folder / "state")


def test_a_checkpoint_that_another_process_cannot_read_is_nobodys(tmp_path, monkeypatch):
    folder, lines = tmp_path / "checkpoints", []
    with CheckpointStore(folder) as store:
        for step in (2, 4):
            store.save(step, _state(step), {"at": step})
        store.wait()
        answers = iter([False, True])  # of the other process
        monkeypatch.setattr(
            "attokit.checkpoints.store._everywhere", lambda here: here and next(answers)
        )
        step, state, _ = store.restore(_abstract(_state(0)), on_damage=lines.append)
    assert (step, int(state["step"])) == (2, 2)
    assert "checkpoint 4 cannot be read (another process of the job cannot read it)" in lines[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's own reads
@pytest.mark.parametrize(
    "kind",
    [
        "cut short",
        pytest.param("altered", marks=pytest.mark.slow),
        pytest.param("a file is gone", marks=pytest.mark.slow),
        pytest.param("the state is gone", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, kind):
    state = {"w": jax.random.normal(jax.random.key(0), (64, 64)), "step": jnp.int32(4)}
    folder = tmp_path / "checkpoints"
    with CheckpointStore(folder, keep_latest=3) as store:
        for step in (2, 4):
            store.save(step, state | {"step": jnp.int32(step)}, {"at": step})
    _damage(folder / "4", kind)
    lines = []
    with CheckpointStore(folder, keep_latest=3) as store:
        step, found, position = store.restore(_abstract(state), on_damage=lines.append)
        assert (step, position, int(found["step"])) == (2, {"at": 2}, 2)
        np.testing.assert_array_equal(found["w"], state["w"])
        (line,) = lines
        assert line.startswith("checkpoint 4 cannot be read")
        assert "going on from checkpoint 2" in line
        assert store.steps == (2,)
        assert (tmp_path / "checkpoints_damaged" / "4").is_dir()
        assert store.save(4, state, {"at": 4})  # its step is free again
        store.wait()
        assert store.restore(_abstract(state))[0] == 4


@types.coroutine
def _file():
    yield


async def _read():
    await _file()


def test_reads_that_a_failure_leaves_behind_are_waited_for(monkeypatch):
    monkeypatch.setattr("attokit.checkpoints.store._ORBAX", os.path.dirname(__file__))
    under_way = [_read()]
    under_way[0].send(None)
    known = weakref.ref(under_way[0])
    monkeypatch.setattr("attokit.checkpoints.store._LONGEST_WAIT", 0.05)
    _let_reads_end()  # one that does not end holds nobody up for ever
    assert known() is not None
    monkeypatch.setattr("attokit.checkpoints.store._LONGEST_WAIT", 60.0)
    end = threading.Timer(0.1, under_way.clear)
    end.start()
    _let_reads_end()
    assert known() is None
    end.join()


def test_nothing_is_set_aside_where_no_checkpoint_fits(tmp_path):
    folder = tmp_path / "checkpoints"
    with CheckpointStore(folder) as store:
        for step in (1, 2):
            store.save(step, _state(step), {})
        store.wait()
        with pytest.raises(ValueError, match=r"checkpoint 2 in .* does not fit this run"):
            store.restore(_abstract({"other": jnp.zeros(3)}))
        assert store.steps == (1, 2)
