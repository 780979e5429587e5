import jax
import pytest

from attokit.train.hosts import join_hosts, launched_on_many


def test_a_process_alone_joins_nothing():
    assert not join_hosts({})
    assert not join_hosts({"SLURM_NTASKS": "8"})  # sbatch without srun: one process runs
    assert not join_hosts({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "n1"})
    assert jax.process_count() == 1


def test_launchers():
    assert launched_on_many({"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "n[1-2]"})
    assert launched_on_many({"OMPI_COMM_WORLD_SIZE": "4"})


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS=None.*give all three"),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "x"},
            "JAX_PROCESS_ID=x",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "process 2 of 2 processes .*count from 0",
        ),
    ],
)
def test_incomplete_environments(environment, match):
    with pytest.raises(ValueError, match=match):
        join_hosts(environment)
