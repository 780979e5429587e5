import types

import pytest

from attokit.zoo.sizes import check_positive


@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan")])
def test_refuses_what_is_not_above_zero(value):
    config = types.SimpleNamespace(width=value, depth=1, free=-1)
    check_positive(config, "depth")
    with pytest.raises(ValueError, match=f"^width={value}: give a positive number$"):
        check_positive(config, "depth", "width")
