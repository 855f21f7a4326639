"""Helpers for every room that know nothing about text, models or metrics: errors, settings, files, JSON, progress."""
