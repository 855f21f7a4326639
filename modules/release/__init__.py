"""Release folders and their manifest: written, read and found."""
