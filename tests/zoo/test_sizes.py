import types

import pytest

from attokit.zoo.sizes import check_positive, check_share, round_to_8


@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan")])
def test_refuses_what_is_not_above_zero(value):
    config = types.SimpleNamespace(width=value, depth=1, free=-1)
    check_positive(config, "depth")
    with pytest.raises(ValueError, match=f"^width={value}: give a positive number$"):
        check_positive(config, "depth", "width")


@pytest.mark.parametrize(
    ("channels", "want"), [(1, 8), (11.9, 16), (12, 16), (15.9, 16), (17.9, 24)]
)
def test_channels_are_multiples_of_8_that_lose_at_most_a_tenth(channels, want):
    assert round_to_8(channels) == want


def test_refuses_what_is_no_share():
    config = types.SimpleNamespace(none=0, all=1, much=1.5, less=-0.1, nothing=float("nan"))
    check_share(config, "none", "all")
    for name in ("much", "less", "nothing"):
        with pytest.raises(ValueError, match=f"^{name}=.*: give a share from 0 to 1$"):
            check_share(config, "none", name)
