"""The memory of a file's activations over time, as a picture."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attokit.export.anatomy import Inspection
from attokit.export.memory_plan import Block, stored_plan
from attokit.figures import png

_COLORS = ("#2f6db3", "#d9822b", "#3a8f4d", "#7a5aa6", "#2a8f9d", "#a6763c")
_KIB = 1024
_NAMED = 0.04  # of the picture's height and width, from which a tensor's name fits into it


def memory_picture(info: Inspection) -> bytes:
    """Returns a PNG: each activation is a bar from the operator that makes it to the last that reads it.

    Bars are as high as tensors are large and lie where TFLite Micro's planner puts them; the operator at which
    most lives at once is marked.
    """
    graph, blocks = info.main, stored_plan(info)
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    top, steps = max((b.end for b in blocks), default=0) or 1, max(len(graph.operators), 1)
    for i, block in enumerate(sorted(blocks, key=lambda b: (b.first, b.offset))):
        _draw(axes, block, _COLORS[i % len(_COLORS)], top, steps)
    lives = [operator.live for operator in graph.operators]
    axes.step(
        range(steps + 1), [n / _KIB for n in (*lives, lives[-1])] if lives else [0, 0], where="post",
        color="black", linewidth=1, label="alive at once",
    )  # fmt: skip
    if lives:
        peak = lives.index(max(lives))
        axes.axvspan(peak, peak + 1, color="#b3372f", alpha=0.15, linewidth=0)
        axes.set_title(
            f"most at operator {peak}, {graph.operators[peak].kind}: {max(lives) / _KIB:,.1f} KiB alive, "
            f"{top / _KIB:,.1f} KiB as placed",
            fontsize=10,
        )
    axes.set_xlim(0, steps)
    axes.set_ylim(0, 1.05 * top / _KIB)
    axes.set_xlabel("operator")
    axes.set_ylabel("memory [KiB]")
    axes.legend(fontsize=8)
    return png(figure)


def _draw(axes: object, block: Block, color: str, top: int, steps: int) -> None:
    width = block.last + 1 - block.first
    corner, height = (block.first, block.offset / _KIB), block.size / _KIB
    axes.add_patch(  # type: ignore[attr-defined]
        Rectangle(
            corner, width, height, facecolor=color, edgecolor="white", alpha=0.75, linewidth=0.5
        )
    )
    if block.size > _NAMED * top and width > _NAMED * steps:
        axes.text(  # type: ignore[attr-defined]
            corner[0] + width / 2, corner[1] + height / 2, block.name[-24:], ha="center", va="center",
            fontsize=6, color="white", clip_on=True, parse_math=False,
        )  # fmt: skip
