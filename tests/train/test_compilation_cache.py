import jax
import jax.numpy as jnp
import pytest

from attokit.train.compilation_cache import keep_compiled


@pytest.fixture
def restored():
    """Gives the setting back that the test changes."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax.clear_caches()


def test_programs_are_kept(tmp_path, restored):
    keep_compiled(tmp_path / "cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(7)).block_until_ready()
    assert any((tmp_path / "cache").iterdir())


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot keep compiled programs in .*file"):
        keep_compiled(tmp_path / "file")
