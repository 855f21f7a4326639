"""LengthGate: stops the pipeline if too many rows are longer than the model's context, and counts them."""
