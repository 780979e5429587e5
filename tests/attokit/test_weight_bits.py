import pytest

from attokit.weight_bits import parse_weight_bits


def test_numbers_and_patterns_in_order():
    assert parse_weight_bits(["4"]) == {"*": 4}
    assert parse_weight_bits(["4", "stem/*=8"]) == {"*": 4, "stem/*": 8}
    assert list(parse_weight_bits(["a/*=8", "*=4"])) == ["a/*", "*"]
    assert parse_weight_bits([]) == {}


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (["5"], "are not 4 or 8"),
        (["head/*"], "are not 4 or 8"),
        (["head/*=x"], "are not 4 or 8"),
        (["4", "*=8"], "of '\\*' are given twice"),
    ],
)
def test_bad_input(texts, text):
    with pytest.raises(ValueError, match=text):
        parse_weight_bits(texts)
