import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.metrics import (
    CalibrationError,
    Collected,
    Confusion,
    FirstNonFinite,
    Mean,
    MetricTotals,
    compute_metrics,
    merge_metrics,
    top_k_accuracy,
)


def _logits(probabilities):
    return jnp.log(jnp.asarray(probabilities, jnp.float32))


LOGITS = _logits([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.3, 0.5], [0.9, 0.06, 0.04]])
LABELS = jnp.asarray([0, 0, 2, 1], jnp.int32)


def test_mean_leaves_masked_values_out_even_nan():
    mean = Mean.of(jnp.asarray([1.0, jnp.nan, 4.0]), jnp.asarray([1.0, 0.0, 1.0]))
    assert float(mean.compute()) == 2.5
    assert np.isnan(float(Mean.empty().compute()))


@pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (2, 1.0), (5, 1.0)])
def test_top_k(k, expected):
    assert float(top_k_accuracy(LOGITS, LABELS, k).compute()) == expected


def test_top_k_of_equal_or_nan_logits_is_no_success():
    logits = jnp.zeros((2, 4), jnp.float32)
    assert float(top_k_accuracy(logits, jnp.asarray([0, 3]), 1).compute()) == 0.5
    assert float(top_k_accuracy(logits * jnp.nan, jnp.asarray([0, 3]), 4).compute()) == 0.0


def test_calibration_error_by_hand():
    # Bins: 0.7 right, 0.6 wrong, 0.5 right, 0.9 wrong, each alone in its bin.
    expected = (0.3 + 0.6 + 0.5 + 0.9) / 4
    assert float(CalibrationError.of(LOGITS, LABELS).compute()) == pytest.approx(expected, abs=1e-6)


def test_calibration_error_cancels_inside_a_bin():
    logits = _logits([[0.505, 0.495]] * 2)
    labels = jnp.asarray([0, 1], jnp.int32)
    assert float(CalibrationError.of(logits, labels).compute()) == pytest.approx(0.005, abs=1e-6)


def test_confusion_rows_are_true_classes():
    counts = Confusion.of(LOGITS, LABELS, jnp.asarray([1.0, 1.0, 1.0, 0.0])).compute()
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])


def test_labels_that_are_no_class_are_counted_nowhere():
    labels = jnp.asarray([0, 255, 2, -1], jnp.int32)
    counts = Confusion.of(LOGITS, labels).compute()
    np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 0, 0], [0, 0, 1]])


def test_counts_stay_exact_beyond_float32_and_int32():
    images, pixels = 2, 1 << 13
    predictions = jnp.ones((images, pixels, pixels // 4), jnp.uint8)
    labels = jnp.zeros_like(predictions).at[0, 0, 0].set(1)
    part = jax.jit(lambda p, y: Confusion.of_predictions(p, y, 2))(predictions, labels)
    total = images * pixels * (pixels // 4)
    assert part.compute().tolist() == [[0, total - 1], [0, 1]]
    assert total - 1 != int(np.float32(total - 1))
    merge = jax.jit(lambda a, b: a.merge(b))
    for _ in range(8):
        part = merge(part, part)
    assert 256 * total > 2**32
    assert part.compute().tolist() == [[0, 256 * (total - 1)], [0, 256]]


def test_first_non_finite_keeps_the_earliest_step():
    values = (jnp.float32(1), jnp.float32(jnp.inf), jnp.float32(jnp.nan))
    parts = [FirstNonFinite.of(v, jnp.int32(step)) for step, v in enumerate(values, start=5)]
    assert int(parts[0].compute()) == -1
    assert int(parts[2].merge(parts[1]).merge(parts[0]).compute()) == 6


@pytest.mark.parametrize("kind", [CalibrationError, Confusion])
def test_parts_merge_to_the_whole_under_jit_with_a_neutral_element(kind):
    empty = kind.empty(3) if kind is Confusion else kind.empty()
    whole = {"m": kind.of(LOGITS, LABELS)}
    parts = [{"m": kind.of(LOGITS[s], LABELS[s])} for s in (slice(0, 1), slice(1, 4))]
    merged = jax.jit(merge_metrics)(jax.jit(merge_metrics)({"m": empty}, parts[0]), parts[1])
    np.testing.assert_allclose(merged["m"].compute(), whole["m"].compute(), rtol=1e-6)


def test_compute_gives_numbers_and_arrays():
    values = compute_metrics({"a": Mean.of(jnp.ones(2)), "c": Confusion.empty(2)})
    assert values["a"] == 1.0
    assert values["c"].shape == (2, 2)


def _collected(values):
    return Collected(({"x": jnp.asarray(values)},))


def test_what_is_collected_keeps_its_order():
    merged = _collected([1.0, 2.0]).merge(_collected([3.0])).merge(_collected([4.0, 5.0]))
    np.testing.assert_array_equal(merged.rows()["x"], [1, 2, 3, 4, 5])
    on_host = _collected([1.0]).on_host()
    assert isinstance(on_host.parts[0]["x"], np.ndarray)


def test_what_other_hosts_saw_is_collected_too(monkeypatch):
    """Two hosts that saw the same, as gathering stacks them behind each other."""

    def gather(tree, tiled):
        assert tiled
        return jax.tree.map(lambda x: np.concatenate([x, x]), tree)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr("attokit.train.metrics.multihost_utils.process_allgather", gather)
    np.testing.assert_array_equal(_collected([1.0, 2.0]).on_host().rows()["x"], [1, 2, 1, 2])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Largest(Collected):
    """What is collected, as two numbers."""

    def compute(self):
        return {"largest": self.rows()["x"].max(), "count": np.asarray(len(self.rows()["x"]))}


def test_totals_of_sums_and_of_what_is_collected():
    totals = MetricTotals()
    for values in ([1.0, 2.0], [6.0]):
        totals.add(
            {"kept": Largest(_collected(values).parts), "mean": Mean.of(jnp.asarray(values))}
        )
    assert totals.compute() == {"largest": 6.0, "count": 3, "mean": 3.0}
    with pytest.raises(ValueError, match="no batch was measured"):
        MetricTotals().compute()
