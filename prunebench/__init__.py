"""Measure one-shot neural-network pruning and decide claims about it."""
