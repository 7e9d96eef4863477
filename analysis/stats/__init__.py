"""Statistics as pure functions of arrays; degenerate data come back as named categories."""
