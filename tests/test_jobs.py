"""Training jobs as processes: killed, stopped, out of room, on several hosts and meshes."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from attokit.train.run_folder import read_metrics

JOB = pathlib.Path(__file__).with_name("tiny_job.py")
pytestmark = pytest.mark.slow


def _start(*arguments, new_group=False, **environment):
    return subprocess.Popen(
        [sys.executable, str(JOB), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        start_new_session=new_group,
    )


def _finish(*arguments):
    """Returns what a job that must succeed prints."""
    process = _start(*arguments)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out
    return out


def _until_it_reads(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("reading"):
            return
    raise AssertionError("".join(lines))


def _state(folder):
    with np.load(folder / "state.npz") as file:
        return dict(file)


def _losses(folder):
    if not (folder / "metrics.jsonl").exists():
        return []
    records = read_metrics(folder / "metrics.jsonl")
    return [record["loss"] for record in records if record["split"] == "train"]


def _saved(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").glob("[0-9]*") if p.name.isdigit())


def test_a_run_killed_five_times_ends_bit_for_bit_as_one_that_was_not(tmp_path):
    options = ["--pause", "0.1", "--steps", "60"]
    _finish(tmp_path / "whole", *options)
    rng, reached = random.Random(7), []
    for lines in sorted(rng.sample(range(2, 58), 5)):
        process = _start(tmp_path / "killed", *options, "--resume")
        _until_it_reads(process)
        while len(_losses(tmp_path / "killed")) < lines:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))  # between steps, in one, or while a checkpoint is written
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached.append(max(_saved(tmp_path / "killed"), default=0))
    assert reached == sorted(reached) and 0 < reached[-1] < 60
    out = _finish(tmp_path / "killed", *options, "--resume")
    assert f"resuming at step {reached[-1]} of 60" in out
    whole, killed = _state(tmp_path / "whole"), _state(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(killed[name], values, err_msg=name)
    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")


def test_sigterm_saves_and_exits_with_success(tmp_path):
    process = _start(tmp_path, "--pause", "0.1", "--steps", "300", "--checkpoint-every", "1000")
    _until_it_reads(process)
    while not _losses(tmp_path):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 0, out
    assert "start it again with resume to go on (the same command, --resume)" in out
    (step,) = _saved(tmp_path)
    assert f"stopped after step {step} of 300" in out
    assert len(_losses(tmp_path)) == step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_group_leaves_worker_processes_to_the_run(tmp_path, number):
    # A pause at which the run always waits for its readers.
    options = ["--pause", "1", "--steps", "300", "--checkpoint-every", "1000", "--workers", "2"]
    process = _start(tmp_path, *options, new_group=True)
    while len(_losses(tmp_path)) < 3:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    out = process.communicate(timeout=120)[0]  # ends when the workers too have let go of the pipe
    assert process.returncode == (0 if number == signal.SIGTERM else -signal.SIGINT), out
    (step,) = _saved(tmp_path)
    assert f"stopped after step {step} of 300" in out
    assert len(_losses(tmp_path)) == step


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """A run on eight devices that was stopped, and one that was not."""
    options = ["--devices", "8", "--mesh", "data=4,fsdp=2"]
    stopped, whole = (tmp_path_factory.mktemp(name) for name in ("stopped", "whole"))
    process = _start(stopped, *options, "--pause", "0.2")
    _until_it_reads(process)
    while not _saved(stopped):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    _finish(whole, *options)
    return stopped, whole


@pytest.mark.parametrize(
    ("devices", "mesh"), [(4, "data=4"), (4, "data=1,fsdp=4"), (1, "data=1"), (8, "data=2,fsdp=4")]
)
def test_saved_on_eight_devices_resumed_on_others(eight, tmp_path, devices, mesh):
    stopped, whole = eight
    copy = tmp_path / "run"
    shutil.copytree(stopped, copy)
    out = _finish(copy, "--devices", devices, "--mesh", mesh, "--resume")
    assert f"resuming at step {max(_saved(stopped))} of 40" in out
    found = _state(copy)
    for name, values in _state(whole).items():
        # Sums over the batch are taken in another order.
        np.testing.assert_allclose(found[name], values, rtol=2e-3, atol=2e-4, err_msg=name)
    np.testing.assert_allclose(_losses(copy), _losses(whole), rtol=1e-3, atol=1e-4)


def test_disk_full_while_saving_leaves_the_older_checkpoints(tmp_path):
    _finish(tmp_path, "--steps", "8")
    assert _saved(tmp_path) == [4, 8]
    settings = tmp_path / "config.json"
    text = json.loads(settings.read_text())
    text["config"]["steps"] = 40
    settings.write_text(json.dumps(text))
    process = _start(tmp_path, "--steps", "40", "--resume", "--largest-file", 2000)
    out = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "too large" in out.lower()
    assert _saved(tmp_path) == [4, 8]
    assert "resuming at step 8 of 40" in _finish(tmp_path, "--steps", "40", "--resume")


def test_two_processes_over_localhost_equal_one(tmp_path):
    options = ["--steps", "12", "--mesh", "data=2,fsdp=2"]
    _finish(tmp_path / "one", *options, "--devices", "4")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"

    def both(*more):
        processes = [
            _start(tmp_path / "two", *options, *more, "--devices", "2", JAX_COORDINATOR_ADDRESS=address,
                   JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(own))
            for own in (0, 1)
        ]  # fmt: skip
        outs = [process.communicate(timeout=300)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], "\n".join(outs)
        return outs

    both()
    one, two = _state(tmp_path / "one"), _state(tmp_path / "two")
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(_losses(tmp_path / "two"), _losses(tmp_path / "one"), rtol=1e-4)
    assert "resuming at step 12 of 12" in both("--resume")[0]


def test_sigterm_to_one_of_two_processes_stops_both_behind_one_step(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [
        _start(tmp_path, "--steps", "2000", "--pause", "0.05", "--checkpoint-every", "10000",
               JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(own))
        for own in (0, 1)
    ]  # fmt: skip
    for process in processes:
        _until_it_reads(process)
    while not _losses(tmp_path):
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    outs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outs)
    (step,) = _saved(tmp_path)
    assert all(f"stopped after step {step} of 2000" in out for out in outs)
