"""What runs: configuration, the DAG, the runners, the command line and read-only metadata queries."""

import modules  # noqa: F401  (sets TensorFlow up, before TFX imports it)
