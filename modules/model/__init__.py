"""GPT-2 itself, from token ids to logits: built, loaded, adapted, fused for training, cached for inference."""
