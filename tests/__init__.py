"""Tests of everything; they mirror the source tree."""

import modules  # noqa: F401  (sets TensorFlow up, before anything imports it)
