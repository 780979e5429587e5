import json

import pytest

from attokit.train.config import TrainConfig
from attokit.train.run_folder import RunFolder, read_metrics, write_atomically

CONFIG = TrainConfig(steps=4)


def test_logs_after_the_resumed_step_go(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.start(CONFIG, {"model": "tiny"}, resume=False)
    folder.open_logs(0)
    for step in (1, 2, 3):
        folder.log(step, "train", {"loss": 1.0 / step})
    folder.close()
    with folder.metrics.open("a") as file:
        file.write('{"step": 4, "torn')
    folder.start(CONFIG, {"model": "tiny"}, resume=True)
    folder.open_logs(2)
    folder.log(3, "train", {"loss": 9.0})
    folder.close()
    records = list(read_metrics(folder.metrics))
    assert [(r["step"], r["loss"]) for r in records] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    settings = json.loads((folder.path / "config.json").read_text())
    assert settings["model"] == "tiny"
    assert settings["config"]["steps"] == 4
    assert list(folder.path.glob("events.out.tfevents.*"))


def test_refuses_to_overwrite_or_to_change_a_run(tmp_path):
    folder = RunFolder(tmp_path)
    folder.start(CONFIG, {}, resume=False)
    with pytest.raises(
        ValueError, match=r"already holds a run: .*--resume.*another folder, or delete"
    ):
        folder.start(CONFIG, {}, resume=False)
    with pytest.raises(ValueError, match="seed was 0, now 1"):
        folder.start(TrainConfig(steps=4, seed=1), {}, resume=True)


def test_resuming_another_problem_is_refused_and_changes_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    extra = {"model": "tiny", "image_shape": (4, 4, 1), "data": "a"}
    folder.start(CONFIG, extra, resume=False)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"model was 'tiny', now 'big'; data was 'a', now 'b'"):
        folder.start(CONFIG, extra | {"model": "big", "data": "b"}, resume=True)
    assert (tmp_path / "config.json").read_bytes() == before
    folder.start(CONFIG, {"model": "tiny", "image_shape": (4, 4, 1), "new": 1}, resume=True)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["data"] == "a"
    assert settings["new"] == 1


def test_switches_are_off_where_they_are_not_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.start(CONFIG, {"model": "tiny", "switches": {"a": (1, 2), "b": "x"}}, resume=False)
    folder.start(CONFIG, {"switches": {"b": "x", "a": (1, 2)}}, resume=True)
    with pytest.raises(ValueError, match=r"a was \[1, 2\], now 'off'; c was 'off', now 3"):
        folder.start(CONFIG, {"switches": {"b": "x", "c": 3}}, resume=True)
    with pytest.raises(ValueError, match=r"a was \[1, 2\], now 'off'; b was 'x', now 'off'"):
        folder.start(CONFIG, {}, resume=True)
    older = RunFolder(tmp_path / "older")
    older.start(CONFIG, {}, resume=False)
    with pytest.raises(ValueError, match=r"d was 'off', now 0.5"):
        older.start(CONFIG, {"switches": {"d": 0.5}}, resume=True)
    older.start(CONFIG, {"switches": {}}, resume=True)


def test_switches_of_an_older_run_lay_beside_them(tmp_path):
    older = {"model": "tiny", "passes": {}, "bits": ["4"], "switches": {"a": 1}}
    off = {"a": None, "passes": None, "bits": None, "types": None}
    (tmp_path / "config.json").write_text(json.dumps({"config": {"steps": 4}} | older))
    folder = RunFolder(tmp_path)
    for more, text in [
        ({}, r"a was 1, now 'off'; bits was \['4'\], now 'off'"),
        ({"a": 1, "bits": ("4",), "passes": {"x": 2}}, r"\(passes was 'off', now {'x': 2}\)"),
        ({"a": 1, "bits": ("4",), "types": ["*"]}, r"\(types was 'off', now \['\*'\]\)"),
    ]:
        with pytest.raises(ValueError, match=text):
            folder.start(CONFIG, {"switches": off | more}, resume=True)
    for _ in range(2):  # once moved, they stay where they are
        folder.start(CONFIG, {"switches": off | {"a": 1, "bits": ("4",)}}, resume=True)
        settings = json.loads((tmp_path / "config.json").read_text())
        del settings["config"]
        assert settings == {"model": "tiny", "switches": {"bits": ["4"], "a": 1}}


@pytest.mark.parametrize("text", ['{"config": {', "[]", "{}", '{"config": 3}'])
def test_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is damaged .*train again"):
        RunFolder(tmp_path).start(CONFIG, {}, resume=True)


def test_other_hosts_write_nothing(tmp_path):
    folder = RunFolder(tmp_path, writes=False)
    folder.start(CONFIG, {}, resume=False)
    folder.open_logs(0)
    folder.log(1, "train", {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot make the run folder"):
        RunFolder(tmp_path / "file" / "run")


def test_atomic_write_leaves_no_temporary(tmp_path):
    write_atomically(tmp_path / "a", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
