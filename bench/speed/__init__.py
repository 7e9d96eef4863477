"""How fast the engine is, measured in one run beside the loops that people write."""
