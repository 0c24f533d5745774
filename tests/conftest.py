"""Two logical CPU devices for every test, so that one replica can be compared with two."""

import os

import chemkd_tf  # noqa: F401  (sets TensorFlow's log level before TensorFlow is imported)

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
