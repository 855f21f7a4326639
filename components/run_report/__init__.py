"""Reports a run in one page and one model card."""
