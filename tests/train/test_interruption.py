import os
import signal

import pytest

from attokit.train.interruption import Interruption, Preempted


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Preempted)]
)
def test_signal_waits_for_check(number, kind):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        interruption.check()
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt) as stopped:
            interruption.check(7)
        assert stopped.type is kind
    assert Preempted.exit_code == 0
    assert signal.getsignal(number) is before


def test_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt), Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # Python runs the handler between two instructions
            pass
