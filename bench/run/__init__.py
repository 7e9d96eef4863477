"""Engines walk a plan, isolate failures and write rows."""
