"""TaskEvaluator: measures memorisation of training text, multiple choice and answers of a trained model."""
