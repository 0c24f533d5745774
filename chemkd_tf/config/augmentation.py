"""Settings of what makes variants of labelled texts."""

import dataclasses
import os

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """`data_prep/augment_labelled.py`: variants of labelled texts (TinyBERT, arXiv:1909.10351, Algorithm 1)."""

    input_file: str = option("", "Labelled texts: .tsv (text TAB label), .csv (columns text and label) or .jsonl.")
    output_file: str = option("", "Labelled texts to write; its ending chooses the format: .tsv, .csv or .jsonl.")
    output_unlabelled: str = option(
        "", "Also write the same texts without labels, an empty line between them: what run_classifier.py takes as "
        "--unlabelled_file, for a fine-tuned teacher to answer. Empty: not."
    )  # fmt: skip
    teacher_dir: str = option(
        "", "A masked language model of any kind that --init_checkpoint of run_pretraining.py takes, or the working "
        "directory of run_pretraining.py or run_distill.py. Needed unless --replace_prob=0."
    )  # fmt: skip
    keep_originals: bool = option(True, "Write the texts of --input_file first; without it the variants alone.")
    num_variants: int = option(20, "Most variants of a text (TinyBERT's N_a).")
    replace_prob: float = option(0.4, "Probability that a word gives way to one of its candidates (TinyBERT's p_t).")
    num_candidates: int = option(15, "Most candidates for a word (TinyBERT's K); each is as likely.")
    delete_prob: float = option(0.05, "Probability that a word is left out (EDA, arXiv:1901.11196); one always stays.")
    swap_prob: float = option(
        0.05, "Probability that a word changes places with another of the same sentence (EDA's random swap)."
    )
    beam_width: int = option(
        8,
        "Beginnings of a word that the search for candidates keeps at each character: more finds better ones, slower.",
    )
    least_likelihood: float = option(
        0.01, "A word less likely than this share of the likeliest one in its place is no candidate; 0: only the rank "
        "counts (TinyBERT)."
    )  # fmt: skip
    masked_lm_prob: float = option(
        0.15, "About the share of a text's tokens that are masked at once, as in pretraining; 0: one word at a time "
        "(TinyBERT), which takes several times as long."
    )  # fmt: skip
    user_dictionary: str = option(
        "",
        "More words, in jieba's format: a word a line, with frequency and tag if you like. They are candidates, too.",
    )
    protected_words: str = option(
        "", "File with a word a line: where one stands in a text nothing changes, and none is ever put in. Empty: only "
        "what is protected anyway (see docs/augmentation.md)."
    )  # fmt: skip
    max_seq_length: int = option(
        128, "Tokens that the teacher reads of a text, with [CLS] and [SEP]; what is behind them stays as it is."
    )
    batch_size: int = option(32, "Rows that the teacher reads at once. The output does not depend on it.")
    random_seed: int = option(12345, "The output depends on this, on the texts and on the teacher alone.")

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the labelled texts")
        require(bool(self.output_file), "--output_file is empty: name the .tsv, .csv or .jsonl to write")
        require(
            bool(self.teacher_dir) or self.replace_prob == 0,
            "--teacher_dir is empty: name a masked language model, or give --replace_prob=0 (deletion and swap alone)",
        )
        for name in ("replace_prob", "swap_prob", "least_likelihood", "masked_lm_prob"):
            require(0 <= getattr(self, name) <= 1, f"--{name}={getattr(self, name)}: from 0 to 1")
        require(0 <= self.delete_prob < 1, f"--delete_prob={self.delete_prob}: from 0 to below 1")
        require(
            self.replace_prob > 0 or self.delete_prob > 0 or self.swap_prob > 0,
            "--replace_prob --delete_prob --swap_prob are all 0: at least one above 0, else nothing varies",
        )
        for name in ("num_variants", "num_candidates", "beam_width", "batch_size"):
            require(getattr(self, name) >= 1, f"--{name}={getattr(self, name)}: at least 1")
        require(self.max_seq_length >= 3, f"--max_seq_length={self.max_seq_length}: at least 3 ([CLS], a token, [SEP])")
        require(self.random_seed >= 0, f"--random_seed={self.random_seed}: 0 or more")
        paths = {name: getattr(self, name) for name in ("input_file", "output_file", "output_unlabelled")}
        given = [(name, os.path.realpath(path)) for name, path in paths.items() if path]
        for number, (name, path) in enumerate(given):
            for earlier, other in given[:number]:
                require(path != other, f"--{name}={paths[name]}: is --{earlier} as well; choose another name")
