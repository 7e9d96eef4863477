"""Claims as data, and how they are decided."""
