"""Measures each TFLite file and holds it against its limit."""
