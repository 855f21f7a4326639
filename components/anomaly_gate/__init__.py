"""AnomalyGate: stops the pipeline if the data breaks its contract."""
