"""What every room may use and what knows no text, no model and no metric: errors, settings, files, JSON, progress."""
