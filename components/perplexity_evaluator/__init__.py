"""PerplexityEvaluator: TFX's Evaluator with perplexities and verdict in ML Metadata."""
