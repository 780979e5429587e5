"""Weights as safetensors files: a pytree of arrays under flat names such as `params/stem/kernel`."""

import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialize_tensors

Tree = Mapping[str, Any]


def flatten_tree(tree: Tree) -> dict[str, np.ndarray]:
    """Returns the arrays of nested dicts on the host, by names joined with slashes.

    Raises:
      ValueError: if two leaves would get one name, or a leaf is no array of numbers.
    """
    flat: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in flat:
            raise ValueError(f"two arrays are called {name!r}: rename one of them")
        array = np.asarray(jax.device_get(leaf))
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{name} has dtype {array.dtype}, which safetensors cannot hold from here: "
                "convert it to float32 or an integer type"
            )
        flat[name] = np.ascontiguousarray(array).reshape(array.shape)
    return flat


def leaves_by_name(tree: Tree) -> dict[str, Any]:
    """Returns the leaves of nested dicts, as they are, by the names that `flatten_tree` gives."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def nest_names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dicts from names joined with slashes: the inverse of `leaves_by_name`.

    Raises:
      ValueError: if a name is that of an array and of a dict.
    """
    tree: dict[str, Any] = {}
    for name, array in sorted(flat.items()):
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise ValueError(
                    f"{name!r} lies in {folder!r}, which is an array: rename one of them"
                )
        node[last] = array
    return tree


def mismatches(found: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> list[str]:
    """Returns one line for every name, shape or dtype in which two flat trees differ."""
    lines = [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
    lines += [f"unknown: {name}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        have, want = found[name], expected[name]
        if (have.shape, have.dtype) != (tuple(want.shape), np.dtype(want.dtype)):
            lines.append(
                f"{name}: {have.dtype}{list(have.shape)}, "
                f"expected {np.dtype(want.dtype)}{list(want.shape)}"
            )
    return lines


def save_weights(
    path: str | pathlib.Path, variables: Tree, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes variables to a safetensors file, whole or not at all; same input, same bytes.

    Args:
      path: The file.
      variables: Nested dicts of arrays, such as a Linen module's variables.
      metadata: Texts to keep in the header, such as the model's name.

    Raises:
      ValueError: if a leaf cannot be stored, or the file cannot be written.
    """
    path = pathlib.Path(path)
    content = serialize_tensors(flatten_tree(variables), dict(metadata) if metadata else None)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as err:
        raise ValueError(f"cannot write {path}: {err}; choose another folder") from err
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def load_weights(
    path: str | pathlib.Path, like: Tree | None = None, *, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """Returns the variables of a safetensors file as nested dicts of numpy arrays.

    Args:
      path: The file.
      like: A tree of arrays or `jax.ShapeDtypeStruct` that the file must match in every name,
        shape and dtype; None takes what is there.
      leave_out: Names, such as `params/head/kernel`, that are neither checked nor returned.

    Raises:
      ValueError: if the file is missing or damaged, or differs from `like`; every difference
        is listed.
    """
    path = pathlib.Path(path)
    try:
        flat = parse_tensors(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as err:
        raise ValueError(f"cannot read weights from {path}: {err}; fetch the file again") from err
    except KeyError as err:  # what the library says of a type that NumPy lacks
        raise ValueError(
            f"{path} holds arrays of type {err}, which NumPy lacks: convert them to float32"
        ) from err
    flat = {name: array for name, array in flat.items() if name not in leave_out}
    if like is not None:
        expected = {n: leaf for n, leaf in leaves_by_name(like).items() if n not in leave_out}
        lines = mismatches(flat, expected)
        if lines:
            raise ValueError(
                f"{path} does not fit the model in {len(lines)} places: {'; '.join(lines)}; "
                "create the model with the config that wrote the file"
            )
    return nest_names(flat)


def load_metadata(path: str | pathlib.Path) -> dict[str, str]:
    """Returns the texts in the header of a safetensors file, as `save_weights` took them.

    Raises:
      ValueError: if the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as err:
        raise ValueError(f"cannot read weights from {path}: {err}; fetch the file again") from err
