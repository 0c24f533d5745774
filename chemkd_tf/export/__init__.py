"""What leaves the laboratory: a SavedModel that takes strings."""
