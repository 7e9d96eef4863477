"""Networks: built, trained, stored, and the units of them that can be pruned."""
