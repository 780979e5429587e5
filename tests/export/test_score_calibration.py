import numpy as np
import pytest

from attokit.export import ScoreCalibration, Sigmoid

_THREE = ScoreCalibration(
    sigmoids=(Sigmoid(scale=0.9, slope=2.0, offset=-1.0), None, Sigmoid(min_score=0.25)),
    transformation="log",
    default_score=0.125,
)


def test_the_formula_of_the_schema():
    found = _THREE(np.asarray([[0.5, 0.5, 0.2], [1.0, 0.0, 0.25]]))
    # 0.9 / (1 + e^-(2 log(x) - 1)) = 0.9 / (1 + e / x^2); 1 / (1 + e^-log(x)) = x / (1 + x)
    wanted = [[0.9 / (1 + np.e / 0.25), 0.125, 0.125], [0.9 / (1 + np.e), 0.125, 0.25 / 1.25]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("transformation", ["identity", "log", "inverse_logistic"])
def test_no_score_is_without_an_answer(transformation):
    calibration = ScoreCalibration(
        sigmoids=(Sigmoid(slope=3.0),) * 4, transformation=transformation
    )
    found = calibration(np.asarray([0.0, 1e-30, 0.5, 1.0]))
    assert np.all(np.isfinite(found)) and np.all(np.diff(found) >= 0)


def test_the_file_says_the_same_again():
    assert _THREE.text == "0.9,2,-1\n\n1,1,0,0.25"
    again = ScoreCalibration.parse(_THREE.text, transformation="log", default_score=0.125)
    assert again == _THREE
    last = ScoreCalibration(sigmoids=(Sigmoid(), None))
    assert ScoreCalibration.parse(last.text, transformation="inverse_logistic") == last


def test_a_score_at_the_limit_is_not_below_it():
    limited = ScoreCalibration(sigmoids=(Sigmoid(min_score=0.7),))
    assert limited(np.asarray([0.7]))[0] == pytest.approx(0.7)  # float32 holds less than 0.7


def test_fitted_scores_are_shares_of_right_answers():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 2)) * 2
    shares = 1 / (1 + np.exp(-logits))  # of class 0 and class 1, each against the rest
    labels = np.where(rng.random(20_000) < shares[:, 0], 0, 1)
    # The network is too sure: its scores are those of logits 2 z + 1.
    scores = 1 / (1 + np.exp(-(2 * logits + 1)))
    calibration = ScoreCalibration.fit(scores, labels)
    first = calibration.sigmoids[0]
    assert first.slope == pytest.approx(0.5, abs=0.03)
    assert first.offset == pytest.approx(-0.5, abs=0.05)
    assert calibration.sigmoids[1].slope == pytest.approx(0, abs=0.05)  # its scores say nothing
    found = calibration(scores)[:, 0]
    for low in np.arange(0, 1, 0.1):
        held = (found >= low) & (found < low + 0.1)
        assert np.mean(labels[held] == 0) == pytest.approx(found[held].mean(), abs=0.05)


def test_classes_that_separate_or_are_missing_stay_finite():
    scores = np.asarray([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.2, 0.8, 0.0]])
    calibration = ScoreCalibration.fit(scores, np.asarray([0, 0, 1, 1]))
    assert calibration.sigmoids[2] == Sigmoid()  # no image has it
    found = calibration(scores)
    assert np.all(found[:2, 0] > 0.5) and np.all(found[2:, 0] < 0.5)
    assert np.all((found > 0) & (found < 1) | (scores == 0) | (scores == 1))
    # Platt's targets for two images of a class: 3/4 and 1/4, so nothing is certain.
    assert found[:, :2].max() < 0.9


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "at least one image"),
        (np.zeros((2, 3)), np.zeros(3, int), r"scores \(2, 3\) and labels \(3,\)"),
        (np.full((2, 3), 1.5), np.zeros(2, int), "give probabilities, not logits"),
        (np.full((2, 3), np.nan), np.zeros(2, int), "give probabilities, not logits"),
        (np.full((2, 3), 0.5), np.asarray([0, 3]), "label 3 has no score among 3"),
    ],
)
def test_what_cannot_be_fitted(scores, labels, text):
    with pytest.raises(ValueError, match=text):
        ScoreCalibration.fit(scores, labels)


@pytest.mark.parametrize("line", ["1,2", "1,2,x", "-1,1,0", "1,inf,0", "1,2,3,4,5", "1,2\r3,4"])
def test_lines_that_say_something_else(line):
    with pytest.raises(ValueError, match="line 2 of the score calibration"):
        ScoreCalibration.parse(f"1,1,0\n{line}", transformation="log")


def test_scores_of_other_classes():
    with pytest.raises(ValueError, match=r"scores of shape \(2,\) and 3 sigmoids"):
        _THREE(np.zeros(2))
