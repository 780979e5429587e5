import io

from rich.console import Console

from attokit.train.progress import training_progress


def _draw(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with training_progress(console) as progress:
        progress.add_task("training", total=10, completed=5, loss="0.5", rate="1,234")
    return console.file.getvalue()


def test_shows_loss_rate_and_time_left():
    text = _draw(True)
    for part in ("5/10", "loss 0.5", "1,234 images/s", "left"):
        assert part in text


def test_a_log_file_gets_no_bars():
    assert _draw(False) == ""
