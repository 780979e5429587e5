import pytest

from attokit.export.cpp_names import cpp_name, is_cpp_name


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("net", "net"),
        ("2 nets-x", "_2_nets_x"),
        ("größe", "gr__e"),
        ("float", "float_"),
        ("main", "main_"),
        ("std", "std_"),
    ],
)
def test_names_are_like_their_files(stem, name):
    assert cpp_name(stem) == name
    assert is_cpp_name(name)
    assert is_cpp_name(stem) == (stem == name)
