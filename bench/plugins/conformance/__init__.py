"""What every plug-in must satisfy: ``prunebench check``, and a test over the whole catalogue.

Plug-ins are tried on two small untrained networks, one with BatchNorm, one with LayerNorm and
attention, and on real digits; searches on a smooth function with steps, as accuracies have.
"""

from bench.plugins.conformance.cases import Bench, make_benches
from bench.plugins.conformance.suite import CHECKED_KINDS, Verdict, check_plugin, check_plugins

__all__ = ["CHECKED_KINDS", "Bench", "Verdict", "check_plugin", "check_plugins", "make_benches"]
