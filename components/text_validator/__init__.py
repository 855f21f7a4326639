"""TextValidator: TFX's ExampleValidator, which also checks drift and skew."""
