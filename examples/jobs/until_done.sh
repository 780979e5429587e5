#!/bin/sh
# until_done.sh RUN_DIR COMMAND...: a training that was stopped with SIGTERM saves and exits with 0, as one that is
# finished does. This passes the signal on and succeeds only when the run is finished, so that a scheduler that
# starts failed jobs again goes on with it.
run_dir=$1 && shift
trap 'kill -TERM "$job"' TERM
"$@" &
job=$!
wait "$job" # returns early when the signal comes
wait "$job" && [ -f "$run_dir/weights.safetensors" ]
