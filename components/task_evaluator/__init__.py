"""Measures what a trained model does: recitation of its training text, multiple choice, answers."""
