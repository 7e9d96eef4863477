"""Scorers: pure functions from a model and calibration data to one score per unit."""
