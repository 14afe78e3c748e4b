#!/bin/bash
# One run on several machines. Give the same command on each of them, within ten minutes.
#
#     HEAD=node-1 NODES=4 GPUS=8 examples/launch/torchrun.sh my.yaml
#
# HEAD is one of the machines, which all others can reach. What follows goes to `doremi run`.
set -euo pipefail
: "${HEAD:?set HEAD to the name of one of the machines}"
: "${NODES:?set NODES to the number of machines}"
# torchrun itself waits less than three minutes for HEAD, and kills a process 30 seconds after it was told to save and end
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}"
exec torchrun --nnodes "$NODES" --nproc-per-node "${GPUS:-8}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD:${PORT:-29500}" --rdzv-id "${JOB:-doremi}" --rdzv-conf read_timeout=600 \
    -m doremi run "$@"
