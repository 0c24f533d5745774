"""Batches of serialized records to tensors: google-research/bert's names outside, the batch contract inside.

Three kinds of records, all tf.train.Example; `RecordFormat` says which a file holds. Masked samples come padded, with
the features of `SCHEMA`, or unpadded, as three lists that end where the sample ends. Samples that are yet to be masked
are whole texts, see `dynamic_masking`.
"""

import tensorflow as tf

# Of a padded record: name in the file, name in the batch, type in the batch, per token (T) or per prediction (P).
SCHEMA = (
    ("input_ids", "token_ids", tf.int32, "T"),
    ("input_mask", "padding_mask", tf.int32, "T"),
    ("segment_ids", "segment_ids", tf.int32, "T"),
    ("masked_lm_positions", "mask_positions", tf.int32, "P"),
    ("masked_lm_ids", "mask_ids", tf.int32, "P"),
    ("masked_lm_weights", "mask_weights", tf.float32, "P"),
)
WORD_LENGTHS = "word_lengths"  # int64, tokens of each word of a whole text, for whole-word masking.
_SHORTEST_SAMPLE = 3  # [CLS], a token, [SEP]


def parse_pretraining_batch(
    serialized: tf.Tensor, max_seq_length: int, max_predictions_per_seq: int
) -> dict[str, tf.Tensor]:
    """Parses a batch of padded records into the batch contract.

    Args:
        serialized: string [B], tf.train.Example each.
        max_seq_length: T of the records.
        max_predictions_per_seq: P of the records.

    Returns:
        `token_ids`, `segment_ids`, `padding_mask` int32 [B, T]; `mask_positions`, `mask_ids` int32 [B, P];
        `mask_weights` float32 [B, P]; `example_weight` float32 [B], all 1.

    Raises:
        tf.errors.InvalidArgumentError: if a record lacks a feature or was written with another T or P.
    """
    sizes = {"T": max_seq_length, "P": max_predictions_per_seq}
    features = {
        stored: tf.io.FixedLenFeature([sizes[size]], tf.float32 if dtype == tf.float32 else tf.int64)
        for stored, _, dtype, size in SCHEMA
    }
    parsed = tf.io.parse_example(serialized, features)
    batch = {name: tf.cast(parsed[stored], dtype) for stored, name, dtype, _ in SCHEMA}
    batch["example_weight"] = tf.ones_like(serialized, tf.float32)
    return batch


def parse_unpadded_batch(
    serialized: tf.Tensor, max_seq_length: int, max_predictions_per_seq: int, pad_id: int = 0
) -> dict[str, tf.Tensor]:
    """Parses a batch of unpadded records into the batch that padded ones of the same samples would give.

    Args:
        serialized: string [B], tf.train.Example each: `input_ids` with specials and masks; `masked_lm_positions` and
            `masked_lm_ids`, as many as there are predictions, perhaps none.
        max_seq_length: T.
        max_predictions_per_seq: P.
        pad_id: id of [PAD].

    Returns:
        The batch, as `parse_pretraining_batch` describes it.

    Raises:
        tf.errors.InvalidArgumentError: if a record is longer than T, has more than P predictions, has no tokens, or not
            as many masked ids as positions.
    """
    parsed = _parse_ragged(serialized, ("input_ids", "masked_lm_positions", "masked_lm_ids"))
    token_ids, positions, mask_ids = parsed.values()
    lengths, predictions = token_ids.row_lengths(), positions.row_lengths()
    _require(lengths >= _SHORTEST_SAMPLE, "input_ids", f"less than {_SHORTEST_SAMPLE} ([CLS], a token, [SEP])")
    _require(lengths <= max_seq_length, "input_ids", f"more than {max_seq_length}")
    _require(predictions <= max_predictions_per_seq, "masked_lm_positions", f"more than {max_predictions_per_seq}")
    _require(predictions == mask_ids.row_lengths(), "masked_lm_ids", "not as many as masked_lm_positions")
    tokens, masked = [serialized.shape[0], max_seq_length], [serialized.shape[0], max_predictions_per_seq]
    padding_mask = tf.ensure_shape(tf.sequence_mask(lengths, max_seq_length, tf.int32), tokens)
    return {
        "token_ids": token_ids.to_tensor(pad_id, shape=tokens),
        "padding_mask": padding_mask,
        "segment_ids": tf.zeros_like(padding_mask),
        "mask_positions": positions.to_tensor(shape=masked),
        "mask_ids": mask_ids.to_tensor(shape=masked),
        "mask_weights": tf.ensure_shape(tf.sequence_mask(predictions, max_predictions_per_seq, tf.float32), masked),
        "example_weight": tf.ones_like(serialized, tf.float32),
    }


def parse_whole_texts(serialized: tf.Tensor, whole_words: bool) -> tuple[tf.RaggedTensor, tf.RaggedTensor | None]:
    """Parses a batch of records of texts that are neither cut nor masked.

    Args:
        serialized: string [B], tf.train.Example each: `input_ids` without specials; with `whole_words` also
            `word_lengths`.
        whole_words: whether to read where words are.

    Returns:
        Token ids, int32 [B, (length)], and the lengths of each text's words in tokens, int32 [B, (words)], or None.

    Raises:
        tf.errors.InvalidArgumentError: if a record has no tokens, or its words are not as long together as its tokens.
    """
    parsed = _parse_ragged(serialized, ("input_ids", WORD_LENGTHS) if whole_words else ("input_ids",))
    token_ids = parsed["input_ids"]
    lengths = token_ids.row_lengths()
    _require(lengths >= 1, "input_ids", "none")
    if not whole_words:
        return token_ids, None
    word_lengths = parsed[WORD_LENGTHS]
    _require(word_lengths.values >= 1, WORD_LENGTHS, "a word without tokens")
    _require(tf.reduce_sum(word_lengths, axis=1) == lengths, WORD_LENGTHS, "not as long together as input_ids")
    return token_ids, word_lengths


def _parse_ragged(serialized: tf.Tensor, names: tuple[str, ...]) -> dict[str, tf.RaggedTensor]:
    """Lists of integers, int32 [B, (length)]; a feature that a record lacks is an empty list."""
    features = {name: tf.io.RaggedFeature(tf.int64) for name in names}
    parsed = tf.io.parse_example(serialized, features)
    return {name: parsed[name].with_values(tf.cast(parsed[name].values, tf.int32)) for name in names}


def _require(holds: tf.Tensor, name: str, found: str) -> None:
    tf.debugging.Assert(tf.reduce_all(holds), [f"Key: {name}. A record has {found}: make the records again"])
