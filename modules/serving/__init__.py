"""Runs what was released: SavedModel and LiteRT, generation."""
