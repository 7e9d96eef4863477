"""Complexity of score functions: kappa, computed instead of assigned by eye (METHODS section 7)."""
