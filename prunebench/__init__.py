"""Measure one-shot neural-network pruning and decide claims about it.

`plan`, `run` and `load` do what the command line does; `prunebench.plugin` holds the names that plug-ins import.
"""

from prunebench.api import load, plan, run

__all__ = ["load", "plan", "run"]
