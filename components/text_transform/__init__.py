"""TFX's Transform, with the tokens of each split counted into ML Metadata."""
