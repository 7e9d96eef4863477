"""Fusion searches: find the weights that fuse the features of a unit into its score."""
