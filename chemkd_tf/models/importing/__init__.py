"""Checkpoints that others wrote, as teachers."""
