"""Chooses by patterns of names: ops and inputs of a graph, and which scales and zero points are learned."""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

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
    learned, frozen = (matching(qparams, p, what="range") for p in (learn, freeze))
    learned -= frozen
    return {name: _mask(entry, name in learned) for name, entry in qparams.items()}


def matching(
    names: Iterable[str], patterns: Sequence[str], *, what: str = "tensor that an op makes"
) -> set[str]:
    """Returns the names that fit a pattern.

    Args:
      names: To choose from.
      patterns: As in a shell.
      what: Each of them is the name of, for the error.

    Raises:
      ValueError: if a pattern fits none, unless it is "*".
    """
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        fitting = fnmatch.filter(names, pattern)
        if not fitting and not (pattern == "*" and not names):
            near = difflib.get_close_matches(pattern, names, n=8, cutoff=0.3) or names[:8]
            more = " …" if len(names) > len(near) else ""
            raise ValueError(f"no {what} fits {pattern!r}; there are {', '.join(near)}{more}")
        found.update(fitting)
    return found


def _mask(entry: QuantParams, learned: bool) -> QuantParams:
    leaves, tree = jax.tree.flatten(entry)
    of_kernel = jax.numpy.ndim(entry.scale) > 0
    return jax.tree.unflatten(tree, [learned, learned and not of_kernel][: len(leaves)])
