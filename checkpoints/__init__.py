"""Checkpoints: the store of a run, weights as files, and the table of pretrained weights."""

if __name__ != "attokit.checkpoints":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import checkpoints` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )

from attokit.checkpoints.hub import WEIGHTS, Weights, describe_file, fetch, info, load, names
from attokit.checkpoints.store import CheckpointStore
from attokit.checkpoints.weights import load_weights, save_weights

__all__ = [
    "WEIGHTS",
    "CheckpointStore",
    "Weights",
    "describe_file",
    "fetch",
    "info",
    "load",
    "load_weights",
    "names",
    "save_weights",
]
