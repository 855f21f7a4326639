"""The Trainer: rows, steps, devices, checkpoints, and what a run leaves behind. It ends by exporting."""
