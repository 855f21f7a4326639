"""Writers of the files of a trained model: SavedModel and TFLite."""
