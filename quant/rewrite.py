"""Rewrites lowered nodes into what TFLite runs: fewer, larger ops.

Passes, in order: softmax, means, pools, normalizations and resizes are recognized, functions of one
variable become ops or tables, batch norms and other affine chains fold into the convolution before
them, movements are recognized, activations fuse.  Every pass keeps the function that the nodes
compute, up to float rounding.
"""

from attokit.quant import affine, conversions, divisions, folding, merging, normalization
from attokit.quant.commuting import Commuting
from attokit.quant.functions import UnaryFunctions
from attokit.quant.lowering import resize
from attokit.quant.mask_last import moving_masks
from attokit.quant.movements import Movements
from attokit.quant.parametric import prelu
from attokit.quant.program import Program, apply
from attokit.quant.softmaxes import (
    exponential,
    log_softmax,
    log_sum_exp,
    mask,
    shifted_log_sum_exp,
    softmax,
)


def rewrite(program: Program) -> None:
    """Runs every pass, in place."""
    program.drop_dead()
    for rule in (
        mask,
        softmax,
        log_softmax,
        exponential,
        shifted_log_sum_exp,
        log_sum_exp,
        moving_masks(),
        divisions.mean,
        divisions.average_pool,
        divisions.division,
        divisions.quotient,
        merging.merge_reshapes,
        merging.keep_dimensions,
        merging.drop_identity,
        normalization.variance,
        normalization.nonnegative,
        normalization.narrow_mean,
        normalization.gain,
        merging.merge_reshapes,
        merging.keep_dimensions,
        merging.merging_equals(),
        normalization.l2,
        prelu,
    ):
        apply(program, rule)
    for rule in (divisions.total, divisions.window_total, resize.merge, resize.resolve):
        apply(program, rule)
    apply(program, UnaryFunctions(program.nodes, program.outputs))
    apply(program, conversions.conversion)
    apply(program, Commuting(program.uses()))
    folding.fold_affine(program)
    for rule in (merging.merge_reshapes, merging.merge_transposes):
        apply(program, rule)
    apply(program, Movements(program.nodes, program.outputs))
    for rule in (merging.narrow_transpose, merging.merge_reshapes):
        apply(program, rule)
    apply(program, affine.joining(program.uses()))
    apply(program, folding.taking_in_pads(program.uses()))
    for rule in (merging.drop_identity, merging.broadcast):
        apply(program, rule)
    folding.fuse_activations(program)
    program.drop_dead()
