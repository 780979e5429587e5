"""What makes a file fit Coral's Edge TPU: passes over its operators, none of which changes an integer."""

from collections.abc import Callable

from attokit.export.flatbuffer import Model
from attokit.export.folded_permutations import fold_permutations
from attokit.export.grouped_convolutions import split_grouped
from attokit.export.merged_padding import merge_padding

PASSES: tuple[Callable[[Model], Model], ...] = (split_grouped, merge_padding, fold_permutations)


def fit_coral(model: Model) -> Model:
    """Returns the model in the form that the Edge TPU's compiler takes, as far as it has one.

    The tensors of the graph that remain have their names and their values; padding and permutations that
    are folded away are no tensors of the file any more.
    """
    for apply in PASSES:
        model = apply(model)
    return model
