"""One release folder: assembled, described by its manifest, found again."""
