"""The work itself: plain functions on text, tensors, models and files, usable without TFX."""

import os

# Keras and TensorFlow read these when they are imported, which must come after this.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# oneDNN on every processor: by itself TensorFlow takes it only where there is AVX-512 for neural networks. With AVX2 a
# training in float32 takes a third longer without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
