"""TextTransform: TFX's Transform with the token counts of each split in ML Metadata."""
