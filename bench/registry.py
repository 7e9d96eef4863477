"""Deprecated: `bench.core.registry`; a plug-in imports from `prunebench.plugin`."""

from bench.core.deprecated import moved

__getattr__ = moved(__name__, "bench.core.registry")
