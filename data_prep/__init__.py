"""Preparation of corpora and TFRecords: from text to the files the trainers read."""
