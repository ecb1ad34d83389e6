#!/bin/bash
# A training on several nodes under Slurm: sbatch docs/slurm_train.sh PAIRS OUTPUT.onnx
# A job that Slurm ends and queues again goes on from its checkpoint.
#SBATCH --job-name=insgan-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
# For cards, one process each: add --gres=gpu:4 above, and PROCESSES=4 DEVICE=cuda below.
set -euo pipefail
PROCESSES=${PROCESSES:-$SLURM_CPUS_PER_TASK}
DEVICE=${DEVICE:-cpu}
[ "$DEVICE" = cuda ] || export OMP_NUM_THREADS=1
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$PROCESSES" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:29500" \
    -m mantid_insgan train --pairs "$1" --output "$2" --steps "${STEPS:-20000}" --batch "${BATCH:-64}" \
    --device "$DEVICE" --overwrite
