"""Training of a model: rows, steps, devices, checkpoints, and the record of a run. It ends with the export."""
