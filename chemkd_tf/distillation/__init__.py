"""Losses (pure functions), objectives (layers), recipes (method to phases), the distiller (train_step)."""
