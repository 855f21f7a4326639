"""Runtimes of released models: text generation with SavedModel and LiteRT."""
