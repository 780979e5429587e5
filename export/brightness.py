"""Colours at the start of a file of grey images: it takes red, green and blue, and makes their brightness.

Apps give colours. The weights are those by which images are read here (Pillow's "L": ITU-R BT.601, 0.299, 0.587 and
0.114), in an INT8 file as 65, 127 and 25 of 217: no grey pixel changes, and one of colours by at most 1 of 255.
"""

import dataclasses

import numpy as np
from jaxtyping import Num

from attokit.export.anatomy import Inspection
from attokit.export.flatbuffer import Operator, Tensor
from attokit.export.pointwise import pointwise

METADATA = "ATTOKIT_COLOURS"
"""Entry of metadata that says so: a network may start with such a convolution of its own."""
_SHARES = np.asarray([[0.299, 0.587, 0.114]], np.float32)
_INTEGERS = np.asarray([[65, 127, 25]], np.int8)


def from_colours(grey: Tensor) -> tuple[Tensor, Operator]:
    """Returns what the file takes, and the operator that makes the network's input of it.

    Raises:
      ValueError: if the input is no image of one channel, int8 or float32.
    """
    if len(grey.shape) != 4 or grey.shape[3] != 1:
        raise ValueError(
            f"the input {grey.name!r} is {list(grey.shape)}: colours are made to one channel of images [b, h, w, 1]; "
            "leave colours out"
        )
    if grey.dtype not in ("int8", "float32"):
        raise ValueError(
            f"the input {grey.name!r} is {grey.dtype}: colours are taken as int8 or float32; keep the input at 8 bits"
        )
    name = f"{grey.name}/colours"
    colours = dataclasses.replace(grey, name=name, shape=(*grey.shape[:3], 3))
    integer = grey.dtype == "int8"
    kernel, scale = (_INTEGERS, 1 / int(_INTEGERS.sum())) if integer else (_SHARES, 1.0)
    return colours, pointwise(colours, grey, f"{name}/kernel", kernel, scale)


def as_colours(grey: Num[np.ndarray, "*b 1"]) -> Num[np.ndarray, "*b 3"]:
    """Returns grey images in red, green and blue: what such a file makes the same grey of."""
    return np.repeat(grey, 3, axis=-1)


def makes_brightness(info: Inspection) -> bool:
    """Tells whether a file of this project takes colours and makes them grey first."""
    return METADATA in info.metadata
