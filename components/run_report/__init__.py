"""RunReport: reports a run as an HTML page and a model card."""
