#!/bin/bash
# The same slice through xpk, which writes the job itself; the cluster was made with xpk cluster create.
xpk workload create --cluster "$CLUSTER" --workload attokit-imagenet --tpu-type v5litepod-16 \
    --docker-image "$REGION-docker.pkg.dev/$PROJECT/$REPOSITORY/attokit" \
    --command "/attokit/examples/jobs/until_done.sh /bucket/runs/imagenet attokit train --recipe attonet_a_imagenet --data /bucket/imagenet \
        --run-dir /bucket/runs/imagenet --resume --compilation-cache /bucket/jax_cache"
