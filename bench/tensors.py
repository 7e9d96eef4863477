"""Deprecated: `bench.models.tensors`; a plug-in imports from `prunebench.plugin`."""

from bench.core.deprecated import moved

__getattr__ = moved(__name__, "bench.models.unit_space", "bench.models.tensors", "bench.models.sorting")
