"""The IDX file format of the MNIST family: big-endian header, then bytes.

Layout: two zero bytes, a type code (8 = uint8), the number of axes, one uint32 per axis, data
(http://yann.lecun.com/exdb/mnist, "FILE FORMATS FOR THE MNIST DATABASE").
"""

import gzip
import pathlib
import struct
import zlib

import numpy as np

_UINT8_CODE = 8


def _read_bytes(path: pathlib.Path) -> bytes:
    """Returns the content of a file, unpacked if it is a gzip archive."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as err:
        raise ValueError(f"cannot read {path}: {err}; fetch the file again") from err


def read_idx(path: str | pathlib.Path, ndim: int) -> np.ndarray:
    """Returns the uint8 array of one IDX file, packed with gzip or not.

    Args:
      path: The file.
      ndim: How many axes the array must have: 3 for images, 1 for labels.

    Raises:
      ValueError: if the file is missing, damaged or of another kind; the text says which.
    """
    path = pathlib.Path(path)
    content = _read_bytes(path)
    magic = content[:4]
    expected = bytes((0, 0, _UINT8_CODE, ndim))
    if magic != expected:
        raise ValueError(
            f"{path} is not an IDX file of {ndim} axes of bytes: it starts with {magic.hex()}, "
            f"expected {expected.hex()}; fetch the file again"
        )
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError(f"{path} ends inside its header ({len(content)} bytes): fetch it again")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    found, needed = len(content) - start, int(np.prod(shape, dtype=np.int64))
    if found != needed:
        raise ValueError(
            f"{path} holds {found} bytes of data where its header promises {needed} "
            f"(shape {shape}): fetch the file again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def find_idx(folder: str | pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of `name` or `name.gz` in a folder.

    Raises:
      ValueError: if neither exists.
    """
    folder = pathlib.Path(folder)
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise ValueError(f"no file {name} or {name}.gz in {folder}: name the folder that holds it")
