"""TFLiteConverter: converts a trained model to TFLite files."""
