"""The hyper-parameter tables. Defaults are the paper's (cited in the help text) or google-research/bert's.

Each stage has one frozen dataclass; every field becomes a flag of the same name (see `flags`). Nothing here imports
TensorFlow, so that `--help` is quick.
"""

import dataclasses
from typing import Any

from chemkd_tf.errors import InputError


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:  # noqa: A002
    """A dataclass field with the help text and the allowed values that its flag will show."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def require(condition: bool, message: str) -> None:
    """Raises InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """`data_prep/build_vocab.py`: a WordPiece vocabulary from the user's own corpus."""

    input_file: str = option("", "Text files or globs, comma-separated: one sentence a line, empty line between articles.")
    output_file: str = option("", "The vocabulary to write, one entry a line, as BERT's vocab.txt.")
    vocab_size: int = option(8000, "Largest number of entries. (The paper keeps Google's Chinese vocabulary: 21,128.)")
    min_frequency: int = option(2, "A character or piece seen less often than this gets no entry.")
    do_lower_case: bool = option(True, "Lower-case and strip accents, as BERT's uncased tokeniser does.")

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the corpus")
        require(bool(self.output_file), "--output_file is empty: name the vocabulary to write")
        require(self.vocab_size >= 10, f"--vocab_size={self.vocab_size}: at least 10")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingDataConfig:
    """`data_prep/create_pretraining_data.py`: text to masked TFRecords (paper section 3.1)."""

    input_file: str = option("", "Text files or globs, comma-separated: one sentence a line, empty line between articles.")
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
        "sentence", "sentence: one sample per sentence and pass (paper). packed: sentences of an article fill a sample.",
        ("sentence", "packed"),
    )  # fmt: skip
    truncate_mode: str = option(
        "token_coin", "How a sentence that is too long loses tokens: a fair coin (front or back) for each excess token, "
        "or one coin for the sample.", ("token_coin", "side_coin"),
    )  # fmt: skip
    num_shards: int = option(0, "Output files; 0 chooses by the size of the corpus.")
    num_workers: int = option(0, "Processes; 0 takes every core. The output does not depend on it.")
    write_nsp_labels: bool = option(False, "Also write next_sentence_labels = 0, which google-research/bert's reader needs.")

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the corpus")
        require(bool(self.output_file), "--output_file is empty: name the prefix of the records to write")
        require(bool(self.vocab_file), "--vocab_file is empty: name a BERT vocabulary (data_prep/build_vocab.py makes one)")
        require(self.max_seq_length >= 3, f"--max_seq_length={self.max_seq_length}: at least 3 ([CLS], a token, [SEP])")
        require(self.max_predictions_per_seq >= 1, f"--max_predictions_per_seq={self.max_predictions_per_seq}: at least 1")
        require(0 < self.masked_lm_prob < 1, f"--masked_lm_prob={self.masked_lm_prob}: between 0 and 1")
        require(self.dupe_factor >= 1, f"--dupe_factor={self.dupe_factor}: at least 1")
        require(self.num_shards >= 0, f"--num_shards={self.num_shards}: 0 (by size) or more")
        require(self.num_workers >= 0, f"--num_workers={self.num_workers}: 0 (every core) or more")
