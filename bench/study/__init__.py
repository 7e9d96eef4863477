"""A study: its file, its plan and its registration."""
