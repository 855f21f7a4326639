"""Helpers for every room, without text, models and metrics: errors, settings, files, JSON, progress."""
