"""Chooses by name which scales and zero points are learned."""

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from attokit.quant.params import QParams, QuantParams


def trainable(
    qparams: QParams, *, learn: Sequence[str] = ("*",), freeze: Sequence[str] = ()
) -> dict[str, QuantParams]:
    """Returns True for every scale and zero point that is to be learned, False for the others.

    The result has the structure of `qparams`, as `optax.masked` wants it; a kernel's zero point is
    always False, for it is 0 by the spec.

    Args:
      qparams: As calibrated.
      learn: Patterns of names (as in a shell: "stem/*", "*/kernel").
      freeze: Patterns of those among them that stay as they are.

    Raises:
      ValueError: if a pattern matches no name; it lists near ones.
    """
    learned = matching(qparams, learn) - matching(qparams, freeze)
    return {name: _mask(entry, name in learned) for name, entry in qparams.items()}


def matching(names: Mapping[str, Any], patterns: Sequence[str]) -> set[str]:
    """Returns the names that match a pattern.

    Raises:
      ValueError: if a pattern matches none.
    """
    found: set[str] = set()
    for pattern in patterns:
        own = fnmatch.filter(names, pattern)
        if not own:
            near = difflib.get_close_matches(pattern, names, n=5, cutoff=0.3) or sorted(names)[:5]
            raise ValueError(f"no range matches {pattern!r}; near are {', '.join(near)}")
        found.update(own)
    return found


def _mask(entry: QuantParams, learned: bool) -> QuantParams:
    leaves, tree = jax.tree.flatten(entry)
    of_kernel = jax.numpy.ndim(entry.scale) > 0
    return jax.tree.unflatten(tree, [learned, learned and not of_kernel][: len(leaves)])
