"""What every training stage shares: strategy, optimizer, exact train step, checkpoints, progress."""
