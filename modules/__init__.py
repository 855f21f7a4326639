"""Work of the pipeline: plain functions on text, tensors, models and files, which can be used without TFX."""

import os

# Keras and TensorFlow read these variables when they are imported, so they are set before.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Uses oneDNN on every processor. By default TensorFlow uses it only if the processor has AVX-512 for neural networks.
# On a processor with AVX2, training in float32 takes a third longer without oneDNN.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
