"""Pretrained weights by name: one table, `model.tag` to a checked file.

To add weights: put the safetensors file into `checkpoints/assets/` (or anywhere a `file://`
address reaches) and one row into `WEIGHTS`; `describe_file` gives its size and hash.
"""

import dataclasses
import difflib
import hashlib
import importlib.resources
import pathlib
import urllib.parse
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attokit.checkpoints import class_names
from attokit.checkpoints.weights import load_weights

_PACKAGE_SCHEME = "package"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """One file of pretrained weights.

    Attributes:
      model: Name in the zoo's registry.
      overrides: Fields of the model's config that differ from the published one.
      source: `package:NAME` for a file in `checkpoints/assets`, or a `file://` address.
      sha256: Of the file, in hexadecimal digits.
      size: Of the file, in bytes.
      preprocessing: What the training images were: size, channels, range; names of the classes.
      metrics: What was measured, by name.
      recipe: Name in `train.RECIPES`, or the command that trained them.
      quantization: Quantization recipe, or None for float weights.
      commit: The revision that trained them.
      license: SPDX identifier.
      data: What they were trained on, as `attokit train --data` takes it, where that needs no folder;
        else None.
    """

    model: str
    overrides: Mapping[str, Any]
    source: str
    sha256: str
    size: int
    preprocessing: Mapping[str, Any]
    metrics: Mapping[str, float]
    recipe: str
    quantization: str | None = None
    commit: str
    license: str
    data: str | None = None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names in the order of the class ids, if they are known."""
        names = self.preprocessing.get("class_names")
        return None if names is None else tuple(names)


WEIGHTS: Mapping[str, Weights] = MappingProxyType(
    {
        "attendseg_lite.scenes": Weights(
            model="attendseg_lite",
            overrides=MappingProxyType({"num_classes": 11, "image_size": (128, 128, 3)}),
            source="package:attendseg_lite_scenes.safetensors",
            sha256="850b3a1712af91a54fc1d0f850d9169ae723f256c9f1d0921942ba50656e83e4",
            size=1557124,
            preprocessing=MappingProxyType(
                {
                    "image_shape": (128, 128, 3),
                    "range": (0.0, 1.0),
                    "class_names": class_names.SCENES,
                }
            ),
            metrics=MappingProxyType({"mean_iou": 0.7454, "int8_file_mean_iou": 0.7414}),
            recipe="attendseg_lite_scenes",
            commit="3136a01",
            license="Apache-2.0",
            data="scenes",
        ),
        "attonet_d.fashion_mnist": Weights(
            model="attonet_d",
            overrides=MappingProxyType({"num_classes": 10, "small_images": True}),
            source="package:attonet_d_fashion_mnist.safetensors",
            sha256="e431a7d2092276af2a91ee56cf86fe03f7692e861b5acf869d510db737af82ba",
            size=1281704,
            preprocessing=MappingProxyType(
                {
                    "image_shape": (28, 28, 1),
                    "range": (0.0, 1.0),
                    "class_names": class_names.FASHION_MNIST,
                }
            ),
            metrics=MappingProxyType(
                {"accuracy": 0.9343, "top5_accuracy": 0.9996, "int8_file_accuracy": 0.9348}
            ),
            recipe="attonet_d_fashion_mnist, then 5 epochs without crops: see docs/results.md",
            commit="e118501",
            license="Apache-2.0",
        ),
    }
)


def names(table: Mapping[str, Weights] = WEIGHTS) -> tuple[str, ...]:
    """Returns the names of all pretrained weights, sorted."""
    return tuple(sorted(table))


def info(name: str, table: Mapping[str, Weights] = WEIGHTS) -> Weights:
    """Returns the record of pretrained weights.

    Raises:
      ValueError: if the name is unknown; the text offers near ones.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}" if near else f"there are: {', '.join(names(table))}"
    raise ValueError(f"no weights {name!r}: {hint if table else 'the table is empty'}")


def describe_file(path: str | pathlib.Path) -> tuple[str, int]:
    """Returns the sha256 and the size of a file, as the table wants them."""
    content = pathlib.Path(path).read_bytes()
    return hashlib.sha256(content).hexdigest(), len(content)


def _locate(source: str) -> pathlib.Path:
    """Returns the local path of a source."""
    address = urllib.parse.urlsplit(source)
    if address.scheme == _PACKAGE_SCHEME:
        assets = importlib.resources.files("attokit.checkpoints") / "assets"
        return pathlib.Path(str(assets / address.path))
    if address.scheme == "file":
        return pathlib.Path(urllib.request.url2pathname(address.path))
    raise ValueError(
        f"weights from {source!r}: scheme {address.scheme!r} cannot be fetched; use a file:// "
        "address or a file inside the package"
    )


def fetch(name: str, table: Mapping[str, Weights] = WEIGHTS) -> pathlib.Path:
    """Returns the local path of pretrained weights, after checking size and sha256.

    Raises:
      ValueError: if the name is unknown, or the file is missing or altered.
    """
    weights = info(name, table)
    path = _locate(weights.source)
    try:
        found = describe_file(path)
    except OSError as err:
        raise ValueError(f"cannot read the weights {name!r} at {path}: {err}") from err
    if found != (weights.sha256, weights.size):
        raise ValueError(
            f"{path} is not the file of {name!r}: {found[1]} bytes with sha256 {found[0]}, "
            f"expected {weights.size} with {weights.sha256}; fetch or install it again"
        )
    return path


def load(
    name: str, like: Mapping[str, Any] | None = None, table: Mapping[str, Weights] = WEIGHTS
) -> dict[str, Any]:
    """Returns pretrained variables, such as `load("attonet_d.fashion_mnist")`.

    Args:
      name: A name of the table.
      like: Shapes and dtypes to check against, such as `jax.eval_shape(model.init, ...)`.
      table: Another table than the published one.

    Raises:
      ValueError: if the name is unknown, the file altered, or it does not fit `like`.
    """
    return load_weights(fetch(name, table), like)
