import dataclasses

import numpy as np
import pytest

from attokit.checkpoints import hub
from attokit.checkpoints.weights import save_weights


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"params": {"w": np.ones(2, np.float32)}})
    sha256, size = hub.describe_file(path)
    weights = hub.Weights(
        model="attonet_d",
        overrides={},
        source=path.as_uri(),
        sha256=sha256,
        size=size,
        preprocessing={"image_shape": (28, 28, 1), "range": (0, 1)},
        metrics={"accuracy": 0.5},
        recipe="none",
        commit="0",
        license="Apache-2.0",
    )
    return {"attonet_d.test": weights}


def test_loads_by_name(table):
    assert hub.load("attonet_d.test", table=table)["params"]["w"].tolist() == [1, 1]
    assert hub.names(table) == ("attonet_d.test",)


def test_published_files_are_there_and_unaltered():
    for name in hub.names():
        assert hub.load(name)["params"]


def test_unknown_names_get_near_ones(table):
    with pytest.raises(
        ValueError, match=r"no weights 'attonet_d.tset': did you mean attonet_d.test"
    ):
        hub.info("attonet_d.tset", table)
    with pytest.raises(ValueError, match=r"there are: attonet_d\.test"):
        hub.info("zzz", table)
    with pytest.raises(ValueError, match="the table is empty"):
        hub.info("zzz", {})


def test_altered_or_missing_file(table, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"is not the file of 'attonet_d\.test'"):
        hub.load("attonet_d.test", table=table)
    path.unlink()
    with pytest.raises(ValueError, match="cannot read the weights"):
        hub.load("attonet_d.test", table=table)


def test_other_schemes_are_refused(table):
    remote = dataclasses.replace(table["attonet_d.test"], source="https://example.org/w")
    with pytest.raises(ValueError, match="scheme 'https' cannot be fetched"):
        hub.fetch("x", {"x": remote})


def test_package_source(table):
    inside = dataclasses.replace(table["attonet_d.test"], source="package:none.safetensors")
    with pytest.raises(ValueError, match=r"cannot read the weights 'x' at .*assets"):
        hub.fetch("x", {"x": inside})
