"""The harness: runs every scorer, allocation and repair over models, seeds and sparsities."""
