"""TextTrainer: TFX's Trainer with the record of the training run in ML Metadata."""
