"""Repairs: changes to a pruned model without training, a correction followed by a recalibration."""
