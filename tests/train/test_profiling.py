import jax.numpy as jnp

from attokit.train.profiling import StepProfiler


def test_records_steps_from_the_third_on(tmp_path):
    profiler = StepProfiler(tmp_path / "profile", 2)
    ended = []
    for step in range(6):
        profiler.before_step()
        assert list(tmp_path.rglob("*.xplane.pb")) == [] or step > 3
        ended.append(profiler.after_step(jnp.ones(2) + 1))
    assert ended == [False, False, False, True, False, False]
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


def test_a_run_that_ends_early_is_written(tmp_path):
    profiler = StepProfiler(tmp_path, 50)
    for _ in range(4):
        profiler.before_step()
        profiler.after_step(None)
    profiler.close()
    profiler.close()
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


def test_without_a_number_nothing_is_written(tmp_path):
    profiler = StepProfiler(tmp_path / "profile", None)
    for _ in range(4):
        profiler.before_step()
        assert not profiler.after_step(None)
    profiler.close()
    assert not (tmp_path / "profile").exists()
