import numpy as np
import pytest
from scipy import io

from attokit.train.wider_evaluation import (
    DIFFICULTIES,
    WiderTruth,
    judge,
    read_wider_truth,
    wider_average_precision,
)


def _column(items):
    column = np.empty((len(items), 1), object)
    for row, item in enumerate(items):
        column[row, 0] = item
    return column


def _write(folder, boxes, counts):
    """Files as the evaluation code has them, from {event: {file: boxes (x, y, w, h)}}."""
    files = [_column([np.array([name]) for name in rows]) for rows in boxes.values()]
    content = {
        "event_list": _column([np.array([event]) for event in boxes]),
        "file_list": _column(files),
        "face_bbx_list": _column([
            _column([np.array(b, float).reshape(-1, 4) for b in rows.values()])
            for rows in boxes.values()
        ]),
    }  # fmt: skip
    io.savemat(folder / "wider_face_val.mat", content)
    for difficulty in DIFFICULTIES:
        lists = [
            _column(
                [np.array(counts[difficulty].get(name, []), np.int32)[:, None] for name in rows]
            )
            for rows in boxes.values()
        ]
        io.savemat(folder / f"wider_{difficulty}_val.mat", {"gt_list": _column(lists)})


BOXES = {
    "0--Parade": {"a": [(0, 0, 20, 20), (50, 50, 10, 10)], "b": [(5, 5, 30, 30)]},
    "1--Crowd": {"c": [(0, 0, 4, 4)]},
}
COUNTS = {"easy": {"a": [1], "b": [1]}, "medium": {"a": [1, 2], "b": [1]},
          "hard": {"a": [1, 2], "b": [1], "c": [1]}}  # fmt: skip


def test_files_are_read(tmp_path):
    _write(tmp_path, BOXES, COUNTS)
    truth = read_wider_truth(tmp_path)
    assert list(truth.boxes_xyxy) == ["0--Parade/a", "0--Parade/b", "1--Crowd/c"]
    np.testing.assert_array_equal(truth.boxes_xyxy["0--Parade/a"][1], [50, 50, 60, 60])
    np.testing.assert_array_equal(truth.counts["easy"]["0--Parade/a"], [True, False])
    assert not truth.counts["medium"]["1--Crowd/c"].any()
    perfect = {
        name: np.concatenate([b, np.linspace(1, 0.5, len(b))[:, None]], 1)
        for name, b in truth.boxes_xyxy.items()
    }
    assert wider_average_precision(perfect, truth) == dict.fromkeys(DIFFICULTIES, 1.0)


def test_damaged_files(tmp_path):
    with pytest.raises(ValueError, match="cannot read event_list, file_list, face_bbx_list from"):
        read_wider_truth(tmp_path)
    _write(tmp_path, BOXES, COUNTS | {"hard": {"c": [2]}})
    with pytest.raises(ValueError, match="names face 2 of 1--Crowd/c, which has 1: take all four"):
        read_wider_truth(tmp_path)
    (tmp_path / "wider_easy_val.mat").write_bytes(b"no MATLAB")
    with pytest.raises(ValueError, match=r"cannot read gt_list from .*wider_easy_val.mat"):
        read_wider_truth(tmp_path)


def test_faces_of_another_difficulty_neither_count_nor_harm():
    faces = np.array([[0, 0, 20, 20], [50, 50, 60, 60]], float)
    answers = np.array([[50, 50, 60, 60], [0, 0, 20, 20], [1, 0, 20, 20], [90, 90, 99, 99]], float)
    counted, right = judge(answers, faces, np.array([True, False]))
    np.testing.assert_array_equal(counted, [False, True, True, True])
    np.testing.assert_array_equal(right, [False, True, False, False])


def test_both_ends_are_pixels():
    """A box of 4x4 pixels and half of it: 8 of 16 pixels, though sides differ by 3 and 1."""
    _, right = judge(np.array([[0.0, 0, 3, 1]]), np.array([[0.0, 0, 3, 3]]), np.array([True]))
    assert right[0]


def _oracle(answers, truth, difficulty):
    """Threshold after threshold, image after image."""
    scores = np.concatenate([rows[:, 4] for rows in answers.values()])
    low, high = scores.min(), scores.max()
    faces = sum(m.sum() for m in truth.counts[difficulty].values())
    points = []
    for step in range(1, 1001):
        proposals = hits = 0
        for name, rows in answers.items():
            rows = rows[np.argsort(-rows[:, 4], kind="stable")]
            rows = rows[(rows[:, 4] - low) / (high - low) >= 1 - step / 1000]
            if len(rows) and len(truth.boxes_xyxy[name]):
                found = judge(rows[:, :4], truth.boxes_xyxy[name], truth.counts[difficulty][name])
                proposals, hits = proposals + found[0].sum(), hits + found[1].sum()
        points.append((hits / faces, hits / proposals if proposals else 0.0))
    area, last = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        area += (recall - last) * max(p for _, p in points[index:])
        last = recall
    return area


def test_equals_the_oracle_on_random_answers():
    rng = np.random.default_rng(0)
    boxes, counts, answers = {}, {d: {} for d in DIFFICULTIES}, {}
    for image in range(5):
        n = int(rng.integers(0, 6))
        low = rng.uniform(0, 200, (n, 2))
        boxes[str(image)] = np.concatenate([low, low + rng.uniform(10, 40, (n, 2))], 1)
        for difficulty in DIFFICULTIES:
            counts[difficulty][str(image)] = rng.random(n) < 0.6
        near = boxes[str(image)].repeat(2, 0) + rng.normal(0, 3, (2 * n, 4))
        noise = np.concatenate([rng.uniform(0, 90, (4, 2)), rng.uniform(100, 200, (4, 2))], 1)
        rows = np.concatenate([near, noise])
        answers[str(image)] = np.concatenate([rows, rng.normal(0, 1, (len(rows), 1))], 1)
    truth = WiderTruth(boxes, counts)
    found = wider_average_precision(answers, truth)
    for difficulty in DIFFICULTIES:
        assert 0.1 < found[difficulty] < 0.9
        assert found[difficulty] == pytest.approx(_oracle(answers, truth, difficulty), abs=1e-12)


def test_nothing_found_and_bad_answers():
    box = {"x": np.array([[0.0, 0, 9, 9]])}
    truth = WiderTruth(box, {"easy": {"x": np.array([True])}, "hard": {"x": np.array([False])}})
    assert wider_average_precision({}, truth) == {"easy": 0.0, "hard": 0.0}
    one = {"x": np.array([[0.0, 0, 9, 9, 0.3]])}  # a single score has no spread
    assert wider_average_precision(one, truth)["easy"] == 1.0
    with pytest.raises(
        ValueError, match=r"answers for 1 images .* such as 'y': name images by event"
    ):
        wider_average_precision({"y": np.zeros((1, 5))}, truth)
    with pytest.raises(ValueError, match="scores that are not finite"):
        wider_average_precision({"x": np.full((1, 5), np.nan)}, truth)
