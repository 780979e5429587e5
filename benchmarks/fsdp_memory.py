"""Memory of one device in a training step, by the ways that `fsdp` splits the state.

    python benchmarks/fsdp_memory.py [--model mobilenet_v1] [--optimizer adamw] [--batch 64]

Numbers are XLA's memory analysis of the compiled step: nothing is run. The state are parameters, running
statistics, the optimizer's numbers and the moving average; temporaries are activations, gradients and
gathered parameters.
"""

import argparse

import jax
import jax.numpy as jnp

from attokit import train, zoo
from attokit.train.mesh import state_shardings
from attokit.train.state import init_state
from attokit.train.step import compile_train_step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilenet_v1", choices=zoo.names(task="classification"))
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)
    model, size = zoo.create(options.model), zoo.config(options.model).image_size
    optimizer = train.make_optimizer(options.optimizer, 1e-3)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *size)))
    state = jax.eval_shape(
        lambda v: init_state(*train.split_variables(v), optimizer, seed=0, ema=True), variables
    )
    batch = {
        "images": jax.ShapeDtypeStruct((options.batch, *size), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((options.batch,), jnp.int32),
    }
    step = train.make_train_step(
        train.flax_forward(model), train.classification_task(), optimizer, ema_decay=0.99
    )
    total = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    print(
        f"{options.model}, {options.optimizer}, batch {options.batch}: state {total / 1e6:.1f} MB"
    )
    print("| mesh | state per device | temporaries per device |\n| --- | --- | --- |")
    for data, fsdp in ((1, 1), (8, 1), (2, 4), (1, 8)):
        mesh = train.make_mesh(data, fsdp)
        program = compile_train_step(step, mesh, state_shardings(mesh, state)).program
        memory = program.lower(state, batch, ()).compile().memory_analysis()
        images = sum(s.dtype.itemsize * s.size for s in batch.values()) // mesh.size
        own = memory.argument_size_in_bytes - images
        print(
            f"| data={data},fsdp={fsdp} | {own / 1e6:.1f} MB | "
            f"{memory.temp_size_in_bytes / 1e6:.1f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
