"""Checkpoints: the store of a run, weights as files, and the table of pretrained weights."""

if __name__ != "attokit.checkpoints":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import checkpoints` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )

from attokit.checkpoints.cache import cache_folder, describe_file
from attokit.checkpoints.hub import (
    available,
    fetch,
    fetch_tflite,
    find,
    hidden,
    info,
    load,
    names,
    read_hub,
)
from attokit.checkpoints.model_card import model_card
from attokit.checkpoints.published import WEIGHTS
from attokit.checkpoints.record import HubFile, Weights
from attokit.checkpoints.store import CheckpointStore
from attokit.checkpoints.weights import load_weights, save_weights

__all__ = [
    "WEIGHTS",
    "CheckpointStore",
    "HubFile",
    "Weights",
    "available",
    "cache_folder",
    "describe_file",
    "fetch",
    "fetch_tflite",
    "find",
    "hidden",
    "info",
    "load",
    "load_weights",
    "model_card",
    "names",
    "read_hub",
    "save_weights",
]
