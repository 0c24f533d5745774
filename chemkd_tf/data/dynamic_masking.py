"""Cutting and masking while training reads, in the graph of tf.data: new windows and new masks in every epoch.

The rule is that of the static path, `samples.cut_windows` and `masking.mask_samples`; the random numbers are others: a
function of a batch's key, so that to resume gives the same masks again.
Shapes: B texts, T tokens with specials, W = T - 2 tokens without, U words in a window, P predictions.
"""

import tensorflow as tf

from chemkd_tf.data.manifest import RecordFormat
from chemkd_tf.data.masking import KEEP_SHARE, MASK_SHARE

# The same numbers whatever device makes them.
_GENERATOR = "philox"


def cut_and_mask(
    token_ids: tf.RaggedTensor, word_lengths: tf.RaggedTensor | None, record_format: RecordFormat, key: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Cuts each text to a window and masks it by BERT's rule: 80 % [MASK], 10 % kept, 10 % any entry.

    Args:
        token_ids: int32 [B, (length)], without specials, at least one each.
        word_lengths: int32 [B, (words)], tokens of each text's words, if whole words are to be masked; else None.
        record_format: T, P and the rule.
        key: int [2], which all the random numbers are a function of.

    Returns:
        The batch, as `parsing.parse_pretraining_batch` describes it.
    """
    window_key, choice_key, dice_key, random_id_key = tf.unstack(tf.random.split(key, 4, alg=_GENERATOR))
    special_ids = dict(record_format.special_ids)
    width = record_format.max_seq_length - 2
    fronts, lengths = cut_windows(
        tf.cast(token_ids.row_lengths(), tf.int32), width, record_format.truncate_mode, window_key
    )
    starts = tf.cast(token_ids.row_starts(), tf.int32) + fronts
    unmasked = _with_specials(token_ids.values, starts, lengths, width, special_ids)

    counts = number_to_predict(lengths + 2, record_format.masked_lm_prob, record_format.max_predictions_per_seq)
    if word_lengths is None:
        chosen = choose_tokens(lengths, counts, width, choice_key)
    else:
        sizes = words_in_windows(word_lengths, starts, lengths)
        chosen = tokens_of_words(choose_words(sizes, counts, choice_key), sizes, width)
    positions, is_prediction = _ascending_positions(chosen, record_format.max_predictions_per_seq)

    originals = tf.gather(unmasked, positions, batch_dims=1)
    dice = tf.random.stateless_uniform(tf.shape(positions), dice_key, alg=_GENERATOR)
    random_ids = tf.random.stateless_uniform(
        tf.shape(positions), random_id_key, 0, record_format.vocabulary_size, tf.int32, alg=_GENERATOR
    )
    replaced = tf.where(dice < MASK_SHARE + KEEP_SHARE, originals, random_ids)
    replaced = tf.where(dice < MASK_SHARE, special_ids["mask"], replaced)
    # Columns without a prediction point at [CLS] and put it back.
    replaced = tf.where(is_prediction, replaced, originals)
    rows = tf.broadcast_to(tf.range(tf.shape(positions)[0])[:, None], tf.shape(positions))
    padding_mask = tf.sequence_mask(lengths + 2, record_format.max_seq_length, tf.int32)
    return {
        "token_ids": tf.tensor_scatter_nd_update(unmasked, tf.stack([rows, positions], axis=2), replaced),
        "padding_mask": padding_mask,
        "segment_ids": tf.zeros_like(padding_mask),
        "mask_positions": positions,
        "mask_ids": tf.where(is_prediction, originals, 0),
        "mask_weights": tf.cast(is_prediction, tf.float32),
        "example_weight": tf.ones_like(lengths, tf.float32),
    }


def cut_windows(lengths: tf.Tensor, width: int, truncate_mode: str, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts what is too long at its front or its end (see `samples.cut_windows`).

    Args:
        lengths: int32 [B].
        width: most tokens that stay.
        truncate_mode: "token_coin": a fair coin for every token that must go; "side_coin": one for all of them.
        key: int [2], of the random numbers.

    Returns:
        How many tokens each text loses in front, and how many it keeps, int32 [B].
    """
    excess = tf.maximum(lengths - width, 0)
    if truncate_mode == "token_coin":
        coins = tf.cast(excess, tf.float64)
        front = tf.random.stateless_binomial(tf.shape(excess), key, coins, tf.ones_like(coins) / 2)
    else:
        front = excess * tf.random.stateless_uniform(tf.shape(excess), key, 0, 2, tf.int32, alg=_GENERATOR)
    return front, lengths - excess


def number_to_predict(lengths: tf.Tensor, masked_lm_prob: float, max_predictions_per_seq: int) -> tf.Tensor:
    """Google's number of predictions for `lengths` int32 [B] with specials (see `masking.number_to_predict`)."""
    # In float64, halves to even: as Python's `round`.
    counts = tf.cast(tf.round(tf.cast(lengths, tf.float64) * masked_lm_prob), tf.int32)
    return tf.clip_by_value(counts, 1, max_predictions_per_seq)


def choose_tokens(lengths: tf.Tensor, counts: tf.Tensor, width: int, key: tf.Tensor) -> tf.Tensor:
    """Chooses `counts[i]` of the `lengths[i]` tokens of each text, every subset as likely as another.

    Args:
        lengths: int32 [B], 1 to `width`.
        counts: int32 [B], at least 1; more than there are tokens takes them all.
        width: W.
        key: int [2], of the random numbers.

    Returns:
        bool [B, W], true where chosen.
    """
    inside = tf.sequence_mask(lengths, width)
    keys = tf.where(inside, _random_keys(tf.shape(inside), key), tf.int64.min)
    descending = tf.sort(keys, direction="DESCENDING")
    last = tf.gather(descending, tf.minimum(counts, lengths)[:, None] - 1, batch_dims=1)
    return (keys >= last) & inside


def words_in_windows(word_lengths: tf.RaggedTensor, starts: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """What the windows leave of each word.

    Args:
        word_lengths: int32 [B, (words)], of whole texts.
        starts: int32 [B], where each window starts if the texts stand in a row.
        lengths: int32 [B], tokens in each window.

    Returns:
        int32 [B, U], tokens of each word that stand in the window, in the order of the text, then zeros.
    """
    word_ends = tf.cumsum(word_lengths.values)
    texts = word_lengths.value_rowids()
    first = tf.maximum(word_ends - word_lengths.values, tf.gather(starts, texts))
    last = tf.minimum(word_ends, tf.gather(starts + lengths, texts))
    sizes = word_lengths.with_values(last - first)
    return tf.ragged.boolean_mask(sizes, sizes > 0).to_tensor()


def choose_words(sizes: tf.Tensor, counts: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Tries words in random order until `counts[i]` tokens are taken (see `masking.choose_units`).

    A word that is longer than what is left of the budget is passed over. The budget only shrinks, so a word passed over
    once would be passed over ever after. Hence a round may drop every word that is too long and take, of the others, as
    many as fit in a row; the word that then doesn't fit is too long for the next round. Each round but the last leaves
    less of the budget than that word's length: a few rounds do, where one word at a time would take as many as words.

    Args:
        sizes: int32 [B, U], tokens of each word; 0 is no word.
        counts: int32 [B], the budget in tokens.
        key: int [2], of the random numbers.

    Returns:
        bool [B, U], true where chosen.
    """
    order = tf.argsort(_random_keys(tf.shape(sizes), key))

    def take_what_fits(left, waiting, taken):
        waiting = tf.where(waiting <= left, waiting, 0)
        fits = (tf.cumsum(waiting, axis=1) <= left) & (waiting > 0)
        newly = tf.where(fits, waiting, 0)
        return left - tf.reduce_sum(newly, axis=1, keepdims=True), waiting - newly, taken | fits

    shuffled = tf.gather(sizes, order, batch_dims=1)
    *_, taken = tf.while_loop(
        lambda left, waiting, taken: tf.reduce_any((waiting > 0) & (waiting <= left)),
        take_what_fits,
        (counts[:, None], shuffled, tf.zeros_like(shuffled, tf.bool)),
    )
    return tf.gather(taken, tf.argsort(order), batch_dims=1)


def tokens_of_words(chosen: tf.Tensor, sizes: tf.Tensor, width: int) -> tf.Tensor:
    """Spreads what holds for words, bool [B, U] of `sizes` int32 [B, U], to their tokens: bool [B, W]."""
    ends = tf.cumsum(sizes, axis=1)
    columns = tf.broadcast_to(tf.range(width), [tf.shape(sizes)[0], width])
    words = tf.searchsorted(ends, columns, side="right")
    # Behind a window's last word there is one that nobody chose.
    return tf.gather(tf.pad(chosen, [[0, 0], [0, 1]]), words, batch_dims=1)


def _random_keys(shape: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Numbers to sort by, int64: of so many that no two are the same."""
    return tf.random.stateless_uniform(shape, key, None, None, tf.int64, alg=_GENERATOR)


def _ascending_positions(chosen: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Positions in `[CLS] tokens [SEP]` of at most P = `size` chosen tokens, int32 [B, P], then zeros; bool [B, P]."""
    width = chosen.shape[1]
    # The earlier a chosen token, the higher it ranks.
    ranks = tf.where(chosen, tf.range(width, 0, -1), 0)
    found = tf.math.top_k(ranks, min(size, width)).values
    found = tf.pad(found, [[0, 0], [0, max(size - width, 0)]])
    return tf.where(found > 0, width + 1 - found, 0), found > 0


def _with_specials(
    token_ids: tf.Tensor, starts: tf.Tensor, lengths: tf.Tensor, width: int, special_ids: dict[str, int]
) -> tf.Tensor:
    """`[CLS] window [SEP] [PAD]...`, int32 [B, T], of windows in the row of all texts' tokens, int32 [N]."""
    columns = tf.range(width + 2)
    ends = lengths[:, None] + 1
    sources = tf.clip_by_value(starts[:, None] + columns - 1, 0, tf.size(token_ids) - 1)
    padded = tf.where(columns < ends, tf.gather(token_ids, sources), special_ids["pad"])
    padded = tf.where(columns == ends, special_ids["end"], padded)
    return tf.where(columns == 0, special_ids["start"], padded)
