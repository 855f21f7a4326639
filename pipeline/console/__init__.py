"""The terminal: the live view of a run, its summary, the comparison of two runs."""
