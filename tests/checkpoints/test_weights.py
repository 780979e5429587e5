import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.checkpoints.weights import (
    flatten_tree,
    load_metadata,
    load_weights,
    nest_names,
    save_weights,
)

TREE = {
    "params": {"stem": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "count": jnp.int32(3),
}


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "w.safetensors"
    save_weights(path, TREE, metadata={"model": "tiny"})
    loaded = load_weights(path, like=jax.eval_shape(lambda: jax.tree.map(jnp.asarray, TREE)))
    jax.tree.map(np.testing.assert_array_equal, loaded, jax.device_get(TREE))
    assert loaded["count"].dtype == np.int32
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_metadata(tmp_path):
    save_weights(tmp_path / "with", TREE, metadata={"model": "tiny"})
    save_weights(tmp_path / "without", TREE)
    assert load_metadata(tmp_path / "with") == {"model": "tiny"}
    assert load_metadata(tmp_path / "without") == {}
    (tmp_path / "with").write_bytes(b"damaged")
    for name in ("with", "missing"):
        with pytest.raises(ValueError, match="cannot read weights"):
            load_metadata(tmp_path / name)


def test_same_input_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_weights(tmp_path / name, TREE, metadata={"x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_names_and_nesting_are_inverse():
    flat = flatten_tree(TREE)
    assert sorted(flat) == ["count", "params/stem/kernel"]
    assert sorted(flatten_tree(nest_names(flat))) == sorted(flat)


def test_an_array_has_no_inside():
    with pytest.raises(ValueError, match="'a/b/c' lies in 'b', which is an array"):
        nest_names({"a/b/c": np.zeros(1), "a/b": np.zeros(1)})


def test_transposed_arrays_are_stored_as_they_look(tmp_path):
    save_weights(tmp_path / "w", {"x": np.arange(6).reshape(2, 3).T})
    np.testing.assert_array_equal(load_weights(tmp_path / "w")["x"], [[0, 3], [1, 4], [2, 5]])


def test_every_mismatch_is_listed(tmp_path):
    save_weights(
        tmp_path / "w", {"a": np.zeros(2, np.float32), "b": np.zeros(2), "old": np.zeros(1)}
    )
    like = {
        "a": jax.ShapeDtypeStruct((3,), np.float32),
        "b": jax.ShapeDtypeStruct((2,), np.float32),
        "new": jax.ShapeDtypeStruct((1,), np.float32),
    }
    with pytest.raises(ValueError, match="in 4 places") as caught:
        load_weights(tmp_path / "w", like=like)
    for part in (
        "missing: new",
        "unknown: old",
        "a: float32[2], expected float32[3]",
        "b: float64",
    ):
        assert part in str(caught.value)


def test_what_cannot_be_stored(tmp_path):
    with pytest.raises(ValueError, match="x has dtype <U1"):
        save_weights(tmp_path / "w", {"x": np.array("a")})
    with pytest.raises(ValueError, match="two arrays are called 'a/b'"):
        save_weights(tmp_path / "w", {"a": {"b": np.zeros(1)}, "a/b": np.zeros(1)})
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write"):
        save_weights(tmp_path / "file" / "w", {"x": np.zeros(1)})


def test_types_that_numpy_lacks(tmp_path):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match="holds arrays of type 'BF16', which NumPy lacks"):
        load_weights(tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all"])
def test_damaged_file(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match="cannot read weights"):
        load_weights(tmp_path / "w")


def test_what_is_left_out_may_differ(tmp_path):
    save_weights(tmp_path / "w", {"a": np.zeros(2, np.float32), "head": {"b": np.zeros(3)}})
    like = {"a": jax.ShapeDtypeStruct((2,), np.float32), "head": {"b": jax.ShapeDtypeStruct((4,), np.float32),
            "new": jax.ShapeDtypeStruct((1,), np.float32)}}  # fmt: skip
    loaded = load_weights(tmp_path / "w", like, leave_out={"head/b", "head/new"})
    assert loaded.keys() == {"a"}
    with pytest.raises(ValueError, match="in 1 places: missing: head/new;"):
        load_weights(tmp_path / "w", like, leave_out={"head/b"})
