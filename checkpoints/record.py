"""What is known of pretrained weights before their file is here: one record per name."""

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_]{1,100}\.[A-Za-z0-9_-]{1,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file that is somewhere, and what its bytes must be.

    Attributes:
      source: `package:NAME` for a file in `checkpoints/assets`, or an address that begins with
        `https://`, `http://`, `gs://`, `hf://` or `file://`.
      sha256: In 64 hexadecimal digits.
      size: In bytes.
    """

    source: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        """Refuses what no file can have."""
        if _SHA256.fullmatch(self.sha256) is None:
            raise ValueError(
                f"sha256 of {self.source} is {self.sha256!r}: give 64 digits of 0-9 and a-f"
            )
        if self.size < 1:
            raise ValueError(f"size of {self.source} is {self.size}: give its bytes, above 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """One file of pretrained weights.

    Attributes:
      model: Name in the zoo's registry.
      overrides: Fields of the model's config that differ from the published one.
      source: Where the safetensors file is, as in `HubFile`.
      sha256: Of that file.
      size: Of that file, in bytes.
      preprocessing: What the training images were: size, channels, range; names of the classes.
      metrics: What was measured, by name.
      recipe: Name in `train.RECIPES`, or the command that trained them.
      quantization: Quantization recipe, or None for float weights.
      commit: The revision that trained them.
      license: SPDX identifier.
      data: What they were trained on, as `attokit train --data` takes it, where that needs no folder;
        else None.
      tflite: The same network as a file for devices, if there is one to download.
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
    tflite: HubFile | None = None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names in the order of the class ids, if they are known."""
        names = self.preprocessing.get("class_names")
        return None if names is None else tuple(names)

    @property
    def file(self) -> HubFile:
        """The safetensors file."""
        return HubFile(source=self.source, sha256=self.sha256, size=self.size)


def byte_images(shape: tuple[int, int, int], class_names: tuple[str, ...]) -> Mapping[str, Any]:
    """Returns the preprocessing of images as all models of the zoo take them: byte / 255.

    Args:
      shape: Height, width and channels.
      class_names: In the order of the class ids.
    """
    return MappingProxyType({"image_shape": shape, "range": (0.0, 1.0), "class_names": class_names})


def check_name(name: str, model: str) -> None:
    """Raises ValueError unless `name` is `model.tag`, of letters, digits, `_` and, in the tag, `-`.

    So it is a file name on every system, and leads nowhere else.
    """
    if _NAME.fullmatch(name) is None or name.partition(".")[0] != model:
        raise ValueError(
            f"weights of {model} cannot be called {name!r}: call them {model}.TAG, where TAG has "
            "letters, digits, _ and - only"
        )
