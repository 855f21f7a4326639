"""TFX's Evaluator, with perplexities and verdict written into ML Metadata."""
