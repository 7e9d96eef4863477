"""Masks: how many units each layer keeps, which ones, and their removal."""
