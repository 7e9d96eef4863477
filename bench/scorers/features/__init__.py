"""Feature scorers: functions of the per-layer normalised rank u, to be fused into one score (METHODS section 3)."""
