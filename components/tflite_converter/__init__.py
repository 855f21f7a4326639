"""Converts a trained model to TFLite files."""
