import subprocess
import sys
import threading

import pytest
from hub_server import ROOT

from attokit.checkpoints.file_lock import exclusive

pytest.importorskip("fcntl")


def test_one_at_a_time(tmp_path):
    inside, most = 0, 0
    guard = threading.Lock()

    def work():
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path / "lock") as alone:
                assert alone
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_killed_process_lets_go(tmp_path, caplog):
    caplog.set_level("INFO", "attokit")
    code = f"""
import sys, time, importlib.util
spec = importlib.util.spec_from_file_location("file_lock", {str(ROOT / "checkpoints/file_lock.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with module.exclusive(__import__("pathlib").Path({str(tmp_path / "lock")!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        got = threading.Event()

        def wait():
            with exclusive(tmp_path / "lock"):
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.wait(0.1)
        holder.kill()
        assert got.wait(10)
        thread.join()
    assert caplog.text.count(f"waiting for the process that holds {tmp_path / 'lock'}") == 1


def test_folders_are_held_too(tmp_path):
    with exclusive(tmp_path) as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []


def test_other_errors(tmp_path):
    with pytest.raises(FileNotFoundError), exclusive(tmp_path / "no" / "lock"):
        pass
