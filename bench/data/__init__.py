"""Image data sets: read, divided once, drawn from."""
