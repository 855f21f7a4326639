"""TFX's own nodes, with executors that check and record the files of artifacts."""
