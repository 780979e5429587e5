import pytest

from attokit.train.schedule import warmup_cosine


def test_rises_to_the_peak_and_falls_to_the_end():
    schedule = warmup_cosine(2.0, 100, warmup_fraction=0.1, final_fraction=0.01)
    assert float(schedule(0)) == 0.0
    assert float(schedule(5)) == pytest.approx(1.0)
    assert float(schedule(10)) == pytest.approx(2.0)
    assert float(schedule(55)) == pytest.approx(1.01)  # half way between peak and end
    assert float(schedule(100)) == pytest.approx(0.02)


def test_without_warmup_it_starts_at_the_peak():
    assert float(warmup_cosine(2.0, 1, warmup_fraction=0.5)(0)) == 2.0


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="over 0 steps"):
        warmup_cosine(1.0, 0)
    with pytest.raises(ValueError, match="warmup_fraction is 2"):
        warmup_cosine(1.0, 10, warmup_fraction=2)
