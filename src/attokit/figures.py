"""Pictures of a report, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _RED = "#2f6db3", "#d9822b", "#3a8f4d", "#b3372f"


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG. No pyplot: nothing global, no window, no leak."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without its version in the file, one input gives one picture.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def training_curves(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Returns loss and accuracy over the steps.

    Args:
      runs: Records of `metrics.jsonl` by the name of the run, in the order of training.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    start = 0.0
    for (name, records), color in zip(runs.items(), (_BLUE, _ORANGE), strict=False):
        train = [r for r in records if r["split"] == "train"]
        test = [r for r in records if r["split"] != "train"]
        left.plot([start + r["step"] for r in train], [r["loss"] for r in train], color=color,
                  label=name)  # fmt: skip
        right.plot([start + r["step"] for r in train], [100 * r["accuracy"] for r in train],
                   color=color, alpha=0.45, label=f"{name}, training")  # fmt: skip
        right.plot([start + r["step"] for r in test], [100 * r["accuracy"] for r in test], "o-",
                   color=color, label=f"{name}, test")  # fmt: skip
        start += max((r["step"] for r in records), default=0)
    for axes, label in ((left, "training loss"), (right, "accuracy [%]")):
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return png(figure)


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str]) -> bytes:
    """Returns a table of counts by label (rows) and prediction (columns)."""
    classes = len(class_names)
    side = min(max(4.0, 0.55 * classes + 1.5), 14.0)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(classes), class_names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(classes), class_names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= 25:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color,
                          fontsize=8)  # fmt: skip
    return png(figure)


def sample_predictions(
    images: np.ndarray, labels: np.ndarray, logits: np.ndarray, class_names: Sequence[str]
) -> bytes:
    """Returns images with what the file says of them; green is right, red is wrong."""
    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.45 * columns, 1.85 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    shares = softmax(logits)
    for axes in grid:
        axes.axis("off")
    for axes, image, label, row in zip(grid, images, labels, shares, strict=False):
        guess = int(row.argmax())
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, "gray", vmin=0, vmax=255)
        text = f"{class_names[guess]}\n{100 * row[guess]:.0f} %"
        if guess != label:
            text += f" ({class_names[label]})"
        axes.set_title(text, fontsize=7, color=_GREEN if guess == label else _RED)
    return png(figure)


def layer_errors(names: Sequence[str], errors_lsb: Sequence[float]) -> bytes:
    """Returns the mean error of every tensor against the float graph, in units of its integer."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(names)), errors_lsb, color=_BLUE)
    step = max(1, len(names) // 30)
    axes.set_xticks(range(0, len(names), step), [n[-28:] for n in names[::step]], rotation=90,
                    fontsize=6)  # fmt: skip
    axes.set_ylabel("mean |INT8 - float| [LSB]")
    axes.set_xlim(-1, len(names))
    axes.grid(axis="y", alpha=0.3)
    return png(figure)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the probability of each logit."""
    return np.exp(-np.logaddexp(0, -logits))
