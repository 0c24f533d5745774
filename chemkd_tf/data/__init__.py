"""Ids to batches: masking, the TFRecord schema, samples, data sets."""
