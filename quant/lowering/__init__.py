"""From JAX primitives to graph ops, one function per primitive."""
