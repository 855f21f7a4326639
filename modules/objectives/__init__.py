"""Training objectives: cross-entropy, distillation, DPO."""
