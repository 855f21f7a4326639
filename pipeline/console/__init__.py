"""What a person sees in the terminal: the live view of a run, its summary, the comparison of two runs."""
