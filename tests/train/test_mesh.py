import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from attokit.train.mesh import (
    batch_sharding,
    check_batch_size,
    leaf_sharding,
    make_mesh,
    named_mesh,
    parse_mesh,
    put_batch,
    replicate,
    state_shardings,
)


def _leaf(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_automatic_mesh_takes_all_devices():
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1}
    assert dict(make_mesh(fsdp=4).shape) == {"data": 2, "fsdp": 4}
    assert make_mesh(2, 2).size == 4


def test_a_mesh_by_its_text():
    assert dict(named_mesh(None).shape) == {"data": 8, "fsdp": 1}
    assert dict(named_mesh("fsdp=4").shape) == {"data": 2, "fsdp": 4}
    assert dict(named_mesh("fsdp=2,data=3").shape) == {"data": 3, "fsdp": 2}


@pytest.mark.parametrize(
    "text", ["", "data", "data=0", "data=-1", "model=2", "data=2,data=2", "4x2"]
)
def test_other_texts(text):
    with pytest.raises(ValueError, match=f"mesh is {text!r}: write data=4,fsdp=2"):
        parse_mesh(text)


def test_replicated_values_are_everywhere():
    mesh = make_mesh(2, 4)
    spread = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("fsdp")))
    whole = replicate({"x": spread}, mesh)["x"]
    assert whole.is_fully_replicated
    np.testing.assert_array_equal(whole, np.arange(8.0))


def test_largest_divisible_axis_is_sharded():
    mesh = make_mesh(2, 4)
    assert leaf_sharding(mesh, _leaf(3, 3, 64, 128)).spec == PartitionSpec(None, None, None, "fsdp")
    assert leaf_sharding(mesh, _leaf(64, 30)).spec == PartitionSpec("fsdp")
    assert leaf_sharding(mesh, _leaf(31, 63)).spec == PartitionSpec()
    assert leaf_sharding(mesh, _leaf(64)).spec == PartitionSpec()  # too small to pay


def test_without_fsdp_all_is_replicated():
    shardings = state_shardings(make_mesh(8), {"w": _leaf(64, 64)})
    assert shardings["w"].spec == PartitionSpec()


def test_put_batch_splits_examples_over_all_devices():
    mesh = make_mesh(4, 2)
    batch = put_batch({"x": np.arange(16)}, mesh)
    assert batch["x"].sharding == batch_sharding(mesh)
    assert batch["x"].addressable_shards[0].data.shape == (2,)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((None, 3), "8 devices do not divide by fsdp=3"),
        ((4, 4), "needs 16 devices, there are 8"),
        ((0, 1), "both must be at least 1"),
    ],
)
def test_impossible_meshes(shape, match):
    with pytest.raises(ValueError, match=match):
        make_mesh(*shape)


def test_parts_of_a_batch_must_divide():
    check_batch_size(32, make_mesh(), parts=4)
    with pytest.raises(ValueError, match=r"each of the 2 parts of a batch of 8 .* multiple of 16"):
        check_batch_size(8, make_mesh(), parts=2)


def test_batch_must_divide():
    with pytest.raises(ValueError, match="batch size 12 does not divide by the 8 devices"):
        check_batch_size(12, make_mesh())
