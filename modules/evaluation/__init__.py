"""Measures a model and compares it with limits: perplexity, TFLite files, tasks, memorisation."""
