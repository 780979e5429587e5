import pytest

from attokit.overrides import check_overrides, parse_overrides


def test_literals_and_words():
    assert parse_overrides(["a=10", "b=true", "c=(1, 2)", "d=text", "e=none", "f=0.5"]) == {
        "a": 10, "b": True, "c": (1, 2), "d": "text", "e": None, "f": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a", "=3", "a b=3"])
def test_refuses_what_is_no_assignment(text):
    with pytest.raises(ValueError, match="is not NAME=VALUE"):
        parse_overrides([text])


def test_refuses_two_values():
    with pytest.raises(ValueError, match="a is given twice"):
        parse_overrides(["a=1", "a=2"])


def test_check():
    assert check_overrides("attonet_d", {"num_classes": 7}).num_classes == 7
    with pytest.raises(ValueError, match="did you mean num_classes"):
        check_overrides("attonet_d", {"num_class": 7})
    with pytest.raises(ValueError, match="overrides of attonet_d"):
        check_overrides("attonet_d", {"num_classes": "many"})
