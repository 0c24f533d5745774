"""Settings that the three stages share, and those of the first one."""

import dataclasses
import os
from typing import Any

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What the three training stages share."""

    output_dir: str = option("", "Working directory of this run; a killed run started again with it goes on.")
    random_seed: int = option(12345, "Initial weights, order of the data and dropout depend on it.")
    train_batch_size: int = option(32, "Global batch: shared out among the replicas.")
    eval_batch_size: int = option(32, "Global batch of evaluation.")
    gradient_accumulation_steps: int = option(
        1, "Micro-batches that an update is computed in, one after the other: the same update in the memory of one of "
        "them (with dropout: of other masks). A batch that is not divisible by it is filled with rows that weigh "
        "nothing."
    )  # fmt: skip
    weight_decay: float = option(0.01, "Decoupled (AdamW); never applied to biases and LayerNorm.")
    clip_norm: float = option(1.0, "Largest global norm of the all-reduced gradient; 0 clips nothing.")
    save_checkpoints_steps: int = option(500, "Updates between checkpoints, from which a killed run resumes.")
    group_by_length: bool = option(
        False, "Rows of about the same length share a batch: less padding to compute, batches less mixed."
    )
    log_every_steps: int = option(20, "Updates between lines of metrics.jsonl and points in TensorBoard.")
    num_replicas: int = option(
        0, "GPUs (without GPUs: logical CPU devices) to train on; 0 takes every GPU, or one CPU."
    )
    mixed_bfloat16: bool = option(False, "Compute in bfloat16, keep weights in float32.")

    def __post_init__(self):
        require(bool(self.output_dir), "--output_dir is empty: name a working directory for this run")
        self._require_at_least_one(
            "train_batch_size", "eval_batch_size", "save_checkpoints_steps", "log_every_steps",
            "gradient_accumulation_steps",
        )  # fmt: skip
        require(
            self.gradient_accumulation_steps <= self.train_batch_size,
            f"--gradient_accumulation_steps={self.gradient_accumulation_steps}: at most one "
            f"for each row of --train_batch_size={self.train_batch_size}",
        )
        require(self.num_replicas >= 0, f"--num_replicas={self.num_replicas}: 0 (all) or more")
        require(self.clip_norm >= 0, f"--clip_norm={self.clip_norm}: 0 (off) or more")

    def _require_at_least_one(self, *names: str) -> None:
        for name in names:
            require(getattr(self, name) >= 1, f"--{name}={getattr(self, name)}: at least 1")


def train_batch_tokens() -> Any:
    """Returns the field of --train_batch_tokens, which two stages have."""
    return option(
        0, "Above 0: each batch has as many rows of about the same length as fit in so many tokens, padding counted, "
        "in place of --train_batch_size rows: an update costs the same whether sentences are short or long. Batches "
        "are then mixed less, and an update averages over unequal numbers of rows: a batch of short sentences moves "
        "the model as far as one of long ones, so each of its sentences counts less."
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingConfig(TrainingConfig):
    """`run_pretraining.py`: the BERT teacher, masked language model only (paper section 3.2)."""

    input_file: str = option("", "TFRecords for training: a prefix, files or globs, comma-separated.")
    eval_input_file: str = option("", "TFRecords of held-out text; empty: no evaluation.")
    vocab_file: str = option(
        "", "The vocabulary that the records were made with; empty: the one beside --init_checkpoint."
    )
    do_lower_case: bool = option(True, "Whether the records were made from lower-cased text.")
    init_checkpoint: str = option(
        "", "What to start from, told apart by looking: Google's bert_model.ckpt (its prefix or its folder), a folder "
        "of Hugging Face transformers, a keras-nlp preset (folder or name), or an earlier run's --output_dir. "
        "Families: BERT (also RoBERTa-wwm and MacBERT), ALBERT, ELECTRA, DistilBERT. Empty: fresh weights.",
    )  # fmt: skip
    bert_config_file: str = option("", "Google's bert_config.json; takes the place of the shape flags below.")
    num_layers: int = option(6, "Transformer layers kept, counted from the bottom (paper: 6 of 12).")
    keep_layers: str = option(
        "", "Layers of --init_checkpoint to keep, counted from 0: 0-5, or 0,2,4,6,8,10. Empty: the first --num_layers."
    )
    hidden_size: int = option(768, "Teacher's width d.")
    num_attention_heads: int = option(12, "Attention heads.")
    intermediate_size: int = option(3072, "Width of the feed-forward layer.")
    hidden_dropout_prob: float = option(0.1, "Dropout of embeddings, attention and feed-forward.")
    initializer_range: float = option(
        0.02, "Standard deviation of fresh weights; a narrow teacher learns sooner with more."
    )
    position_initializer: str = option(
        "normal", "Fresh position embeddings: normal (BERT's); sinusoidal, with which attention to neighbours is "
        "learnt sooner; fixed_sinusoidal, which this run does not train.",
        ("normal", "sinusoidal", "fixed_sinusoidal"),
    )  # fmt: skip
    max_position_embeddings: int = option(512, "Longest sequence the teacher can take; at least that of the records.")
    train_batch_tokens: int = train_batch_tokens()
    learning_rate: float = option(1e-4, "Peak of the linear warm-up, then linear decay to 0.")
    num_train_steps: int = option(100000, "Updates.")
    num_warmup_steps: int = option(10000, "Updates of warm-up.")
    eval_every_steps: int = option(1000, "Updates between evaluations on --eval_input_file.")
    max_eval_steps: int = option(100, "Most batches per evaluation; 0: all.")
    use_xla: bool = option(
        False, "Compile forward and backward pass with XLA: once for each length, which is rounded up to a multiple of "
        "16. Dropout then has other masks. (The student's LSTM kernel can't be compiled: no such flag there.)"
    )  # fmt: skip
    do_train: bool = option(True, "Train. Without it --init_checkpoint is imported as it is, cut to its kept layers.")
    do_eval: bool = option(True, "Evaluate at the end (needs --eval_input_file).")
    export_format: str = option(
        "", "Also write the teacher for others: hugging_face (config.json, model.safetensors, vocab.txt) or keras_nlp "
        "(a preset). Empty: not.", ("", "hugging_face", "keras_nlp"),
    )  # fmt: skip
    export_dir: str = option("", "Where --export_format goes; empty: a folder of that name in --output_dir.")

    def __post_init__(self):
        super().__post_init__()
        require(
            bool(self.input_file) or not self.do_train,
            "--input_file is empty: name records made by data_prep/create_pretraining_data.py",
        )
        require(
            bool(self.vocab_file) or bool(self.init_checkpoint),
            "--vocab_file is empty: name the vocabulary the records were made with",
        )
        require(
            not self.keep_layers or bool(self.init_checkpoint),
            f"--keep_layers={self.keep_layers} is of --init_checkpoint, which is empty; fresh layers: --num_layers",
        )
        require(
            not self.export_dir
            or os.path.realpath(self.export_dir) != os.path.realpath(self.init_checkpoint or os.sep),
            f"--export_dir={self.export_dir} is --init_checkpoint itself, which would be replaced: name another folder",
        )
        self.kept_layers()
        self._require_at_least_one("num_layers", "num_train_steps", "eval_every_steps")
        require(self.train_batch_tokens >= 0, f"--train_batch_tokens={self.train_batch_tokens}: 0 (off) or more")
        require(
            self.hidden_size % self.num_attention_heads == 0,
            f"--hidden_size={self.hidden_size} is not a multiple of --num_attention_heads={self.num_attention_heads}",
        )

    def kept_layers(self) -> tuple[int, ...]:
        """Numbers of the layers of --init_checkpoint to keep, from 0, ascending."""
        if not self.keep_layers:
            return tuple(range(self.num_layers))
        layers: list[int] = []
        for part in self.keep_layers.split(","):
            first, dash, last = part.strip().partition("-")
            try:
                layers += range(int(first), int(last if dash else first) + 1)
            except ValueError:
                layers += [-1]
        require(
            bool(layers) and min(layers) >= 0 and layers == sorted(set(layers)),
            f"--keep_layers={self.keep_layers}: numbers from 0 in ascending order, such as 0-5 or 0,2,4,6,8,10",
        )
        return tuple(layers)
