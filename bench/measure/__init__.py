"""The work on one group of cells: dense model, scores, masks, repair, evaluation, rows."""
