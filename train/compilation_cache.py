"""Keeps compiled programs in a folder, so that a job that starts again need not wait for the compiler."""

import pathlib

import jax


def keep_compiled(folder: pathlib.Path) -> None:
    """Makes JAX look in a folder before it compiles, and keep there what took a second or more.

    Hosts may share the folder. Programs are found again for the same code, shapes, mesh, version and device.

    Raises:
      ValueError: if the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ValueError(
            f"cannot keep compiled programs in {folder}: {err}; choose a folder you may write"
        ) from err
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
