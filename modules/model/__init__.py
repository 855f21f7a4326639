"""GPT-2 from token ids to logits: builders, presets, adapters, fused blocks for training, a cache for inference."""
