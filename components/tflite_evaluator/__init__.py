"""TFLiteEvaluator: measures each TFLite file and compares it with its limit."""
