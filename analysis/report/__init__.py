"""The report folder: one self-contained page and the files behind it."""
