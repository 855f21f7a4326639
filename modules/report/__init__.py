"""Report of a run as one HTML page and a model card."""
