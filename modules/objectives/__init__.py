"""Losses that a training run minimises: cross-entropy, distillation, DPO."""
