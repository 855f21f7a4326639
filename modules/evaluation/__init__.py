"""Measurements of a model and their limits: perplexity, TFLite files, tasks, memorisation."""
