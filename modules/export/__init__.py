"""Turns a trained model into files: SavedModel and TFLite."""
