"""TextExampleGen: documents from files or TFDS as tf.Examples, without duplicates, split by content."""
