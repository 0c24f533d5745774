"""Settings of what turns a corpus into records."""

import dataclasses

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingDataConfig:
    """`data_prep/create_pretraining_data.py`: text to masked TFRecords (paper section 3.1)."""

    input_file: str = option(
        "", "Text files or globs, comma-separated: one sentence a line, empty line between articles."
    )
    output_file: str = option("", "Prefix P of what is written: P-00000-of-000NN and P.manifest.json.")
    vocab_file: str = option("", "BERT vocabulary, one entry a line.")
    do_lower_case: bool = option(True, "Lower-case and strip accents; must agree with the vocabulary.")
    do_whole_word_mask: bool = option(False, "Mask all the pieces of a word (found by jieba) together.")
    max_seq_length: int = option(128, "Tokens per sample with [CLS] and [SEP] (paper: l = 128).")
    max_predictions_per_seq: int = option(20, "Most masked tokens per sample.")
    masked_lm_prob: float = option(0.15, "Share of tokens to predict.")
    random_seed: int = option(12345, "The output depends on this and on the corpus alone.")
    dupe_factor: int = option(10, "Passes over the corpus, each with its own masks (paper: 10).")
    sample_mode: str = option(
        "sentence", "sentence: one sample per sentence and pass (paper). packed: an article's sentences fill a sample.",
        ("sentence", "packed"),
    )  # fmt: skip
    truncate_mode: str = option(
        "token_coin", "How too long a sentence loses tokens: a fair coin (front or back) for each excess token, "
        "or one coin for the sample.", ("token_coin", "side_coin"),
    )  # fmt: skip
    masking: str = option(
        "static", "static: masks are drawn now, anew in every pass. dynamic: whole unmasked samples are written once, "
        "and training cuts and masks them, anew in every epoch.", ("static", "dynamic"),
    )  # fmt: skip
    pad_records: bool = option(
        True, "Pad every record to max_seq_length, as google-research/bert's reader wants; without it a record takes "
        "as much room as its tokens."
    )  # fmt: skip
    user_dictionary: str = option(
        "", "More words for whole-word masking, in jieba's format: a word a line, with frequency and tag if you like."
    )
    num_shards: int = option(0, "Output files; 0 chooses by the size of the corpus.")
    num_workers: int = option(0, "Processes; 0 takes every core. The output does not depend on it.")
    write_nsp_labels: bool = option(
        False, "Also write next_sentence_labels = 0, which google-research/bert's reader needs."
    )
    dry_run: bool = option(
        False, "Write nothing; say from a sample of the corpus what would be written and how long it would take."
    )
    verify: bool = option(
        False, "Write nothing; check the records at --output_file against their manifest, byte for byte."
    )
    runner: str = option(
        "", "An Apache Beam runner (DirectRunner, DataflowRunner, FlinkRunner, ...) to write the records on; its own "
        "options follow behind --. Empty: this machine's processes. The output does not depend on it."
    )  # fmt: skip

    def __post_init__(self):
        require(bool(self.output_file), "--output_file is empty: name the prefix of the records to write")
        if self.verify:
            return
        require(bool(self.input_file), "--input_file is empty: name the corpus")
        require(
            bool(self.vocab_file), "--vocab_file is empty: name a BERT vocabulary (data_prep/build_vocab.py makes one)"
        )
        require(self.max_seq_length >= 3, f"--max_seq_length={self.max_seq_length}: at least 3 ([CLS], a token, [SEP])")
        require(
            self.max_predictions_per_seq >= 1, f"--max_predictions_per_seq={self.max_predictions_per_seq}: at least 1"
        )
        require(0 < self.masked_lm_prob < 1, f"--masked_lm_prob={self.masked_lm_prob}: between 0 and 1")
        require(self.dupe_factor >= 1, f"--dupe_factor={self.dupe_factor}: at least 1")
        require(self.num_shards >= 0, f"--num_shards={self.num_shards}: 0 (by size) or more")
        require(self.num_workers >= 0, f"--num_workers={self.num_workers}: 0 (every core) or more")
        require(
            not self.user_dictionary or self.do_whole_word_mask,
            "--user_dictionary is for whole-word masking: add --do_whole_word_mask",
        )
        require(
            not self.write_nsp_labels or (self.pad_records and self.masking == "static"),
            "--write_nsp_labels is for google-research/bert's reader, which wants --masking=static --pad_records",
        )
