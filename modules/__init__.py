"""The work itself: plain functions on text, tensors, models and files, usable without TFX."""
