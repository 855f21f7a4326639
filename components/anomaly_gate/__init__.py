"""Stops the pipeline where the data breaks its contract."""
