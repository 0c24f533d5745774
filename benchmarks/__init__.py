"""Measurements: baselines without pretraining, speed and size."""
