import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from attokit.export.support import SUPPORT


@pytest.mark.parametrize("name", SUPPORT)
def test_names_are_operators_and_runtimes_are_numbers(name):
    assert isinstance(getattr(BuiltinOperator, name), int)
    for version, runtime in SUPPORT[name].runtimes.items():
        major, minor = runtime.split(".")
        assert version >= 1
        assert (1, 5) <= (int(major), int(minor)) < (3, 0)


def test_later_versions_need_later_runtimes():
    for support in SUPPORT.values():
        runtimes = [
            tuple(map(int, runtime.split("."))) for _, runtime in sorted(support.runtimes.items())
        ]
        assert runtimes == sorted(runtimes)


def test_the_edge_tpu_reads_versions_up_to_its_compiler():
    assert SUPPORT["CONV_2D"].edge_tpu_takes(3)
    assert not SUPPORT["CONV_2D"].edge_tpu_takes(6)  # google-coral/edgetpu, issue 631
    assert not SUPPORT["HARD_SWISH"].edge_tpu_takes(1)
