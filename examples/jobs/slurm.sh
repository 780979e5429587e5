#!/bin/bash
# sbatch examples/jobs/slurm.sh: two hosts of eight GPUs, one process per GPU, which JAX finds through srun.
#SBATCH --job-name=attokit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@300
# Five minutes before the limit the processes get SIGTERM, save behind one step and exit; the job is queued again
# until the run is finished. --resume starts where there is nothing yet.
run=/shared/runs/imagenet
srun --kill-on-bad-exit=1 attokit train --recipe attonet_a_imagenet --data /data/imagenet \
    --run-dir "$run" --resume --compilation-cache /shared/jax_cache || exit 1
[ -f "$run/weights.safetensors" ] || scontrol requeue "$SLURM_JOB_ID"
