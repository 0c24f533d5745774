"""Settings of what makes a trained classifier smaller."""

import dataclasses

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShrinkingConfig:
    """`run_classifier.py --do_shrink`."""

    do_shrink: bool = option(
        False, "Make a smaller classifier in --output_dir of the trained one in --init_checkpoint; with --do_eval, see "
        "what it costs. To train it on: another --output_dir, and this one as --init_checkpoint."
    )  # fmt: skip
    shrink_texts: str = option(
        "", "With --do_shrink: texts that the classifier is for, files or globs, comma-separated (.tsv, .csv, .jsonl "
        "or one text a line). Entries of the vocabulary that they don't need are left out."
    )  # fmt: skip
    prune_min_count: int = option(1, "With --shrink_texts: entries that occur less often in them are left out.")
    embedding_rank: int = option(
        0, "With --do_shrink: the token embedding becomes a product of two matrices of this rank; 0: as it is."
    )

    def require_shrinking(self, do_train: bool) -> None:
        """Raises InputError where the settings contradict each other."""
        require(self.prune_min_count >= 1, f"--prune_min_count={self.prune_min_count}: at least 1")
        require(self.embedding_rank >= 0, f"--embedding_rank={self.embedding_rank}: 0 (off) or more")
        for name, value in (("shrink_texts", self.shrink_texts), ("embedding_rank", self.embedding_rank)):
            require(self.do_shrink or not value, f"--{name}={value} needs --do_shrink, and a classifier to shrink")
        require(
            not (self.do_shrink and do_train),
            "--do_shrink and --do_train: shrink first, then train with --init_checkpoint naming the shrunk one",
        )
        require(
            not self.do_shrink or bool(self.shrink_texts) or self.embedding_rank > 0,
            "--do_shrink: give --shrink_texts=FILES (prunes the vocabulary), --embedding_rank=R, or both",
        )
