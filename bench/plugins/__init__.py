"""The list of methods, and the conformance suite that every method must pass."""
