"""Settings of the three stages."""

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


def _train_batch_tokens() -> Any:
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
    train_batch_tokens: int = _train_batch_tokens()
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig(TrainingConfig):
    """`run_distill.py`: embedding, hidden and prediction layers of the teacher into a BiLSTM (paper section 3.3)."""

    input_file: str = option("", "TFRecords for distillation: a prefix, files or globs, comma-separated.")
    eval_input_file: str = option("", "TFRecords of held-out text; empty: no evaluation.")
    teacher_dir: str = option(
        "", "Working directory of run_pretraining.py, or best/ in it: the weights with the lowest held-out loss."
    )
    num_student_layers: int = option(3, "BiLSTM layers (paper: 3).")
    student_width: int = option(200, "Width d' of the student's states: both directions together (paper: d' = 200).")
    units_per_direction: int = option(0, "Width of one direction; 0: half of --student_width.")
    student_embedding: str = option(
        "full", "full: token + segment + position, summed (paper). token: token embedding alone.", ("full", "token")
    )
    layer_map: tuple[int, ...] = option(
        (1, 3, 5), "Teacher layer f(h) for each student layer h, from 1 (paper: 2h - 1)"
    )
    embedding_loss_weight: float = option(1.0, "Weight a of L_emb.")
    hidden_loss_weight: float = option(1.0, "Weight b of L_hid.")
    prediction_loss_weight: float = option(1.0, "Weight c of L_pred.")
    temperature: float = option(1.0, "Temperature Tem of L_pred (paper: 1).")
    share_projection: bool = option(False, "One W_h for all matched layers instead of one for each.")
    teacher_bfloat16: bool = option(
        False, "Compute the teacher in bfloat16: most of an update is its forward pass. The student, the losses and "
        "all weights on disk stay float32. For GPUs, and CPUs that have bfloat16 products."
    )  # fmt: skip
    method: str = option("layered", "Row of chemkd_tf/distillation/recipes.py.")
    train_batch_tokens: int = _train_batch_tokens()
    learning_rate: float = option(2e-3, "Peak of the linear warm-up, then linear decay to 0.")
    num_train_steps: int = option(20000, "Updates (with --stop_when_converged: at most).")
    num_warmup_steps: int = option(500, "Updates of warm-up.")
    eval_every_steps: int = option(500, "Updates between evaluations on --eval_input_file.")
    max_eval_steps: int = option(50, "Most batches per evaluation; 0: all.")
    stop_when_converged: bool = option(False, "Stop when the held-out loss has stopped falling (Algorithm 1).")
    patience: int = option(3, "Evaluations without improvement before --stop_when_converged stops.")
    min_improvement: float = option(0.002, "Smallest relative fall of the held-out loss that counts as improvement.")

    def __post_init__(self):
        super().__post_init__()
        require(
            bool(self.input_file), "--input_file is empty: name records made by data_prep/create_pretraining_data.py"
        )
        require(bool(self.teacher_dir), "--teacher_dir is empty: name the --output_dir of run_pretraining.py")
        require(
            len(self.layer_map) == self.num_student_layers,
            f"--layer_map={','.join(map(str, self.layer_map))} names {len(self.layer_map)} teacher layers, the student "
            f"has --num_student_layers={self.num_student_layers}: name one teacher layer for each student layer",
        )
        self._require_at_least_one("num_student_layers", "num_train_steps", "eval_every_steps", "patience")
        require(self.train_batch_tokens >= 0, f"--train_batch_tokens={self.train_batch_tokens}: 0 (off) or more")
        weights = ("embedding_loss_weight", "hidden_loss_weight", "prediction_loss_weight")
        for name in weights:
            require(getattr(self, name) >= 0, f"--{name}={getattr(self, name)}: 0 (off) or more")
        require(any(getattr(self, name) for name in weights), f"--{' --'.join(weights)}: at least one above 0")
        require(self.temperature > 0, f"--temperature={self.temperature}: above 0")
        require(
            self.units_per_direction > 0 or self.student_width % 2 == 0,
            f"--student_width={self.student_width} can't be halved: even, or give --units_per_direction",
        )
        require(
            not self.stop_when_converged or bool(self.eval_input_file),
            "--stop_when_converged needs --eval_input_file: convergence is judged on held-out text",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationConfig(TrainingConfig):
    """`run_classifier.py`: a downstream network over the encoder's output sequence (paper sections 3.4 and 4.3)."""

    data_dir: str = option("", "Folder with train, dev and test as .tsv, .csv or .jsonl (text and label).")
    init_checkpoint: str = option("", "Working directory of run_pretraining.py or run_distill.py: the encoder.")
    random_init: bool = option(False, "Same encoder with fresh weights: the undistilled baseline.")
    freeze_encoder: bool = option(False, "Train the classification layer only.")
    pooling: str = option("max", "How the output sequence becomes one vector.", ("last", "max", "mean", "cls"))
    classifier_dropout: float = option(0.1, "Dropout before the classification layer.")
    max_seq_length: int = option(128, "Tokens per text with [CLS] and [SEP]; the rest is cut off at the end.")
    learning_rate: float = option(0.0, "Peak of warm-up, then linear decay; 0: 1e-3 for a student, 1e-4 for a teacher.")
    num_train_epochs: float = option(10.0, "Passes over the training set.")
    warmup_proportion: float = option(0.1, "Share of the updates that warm up.")
    token_mask_prob: float = option(
        0.0, "Mean share of a training text's tokens replaced by [MASK], drawn anew each time: helps with few labels."
    )
    sentence_drop_prob: float = option(0.0, "Probability of leaving out each sentence of a training text.")
    shuffle_sentences: bool = option(False, "Put the sentences of a training text in random order each time.")
    eval_every_epochs: int = option(1, "Passes between evaluations on dev.")
    teacher_dir: str = option(
        "", "A fine-tuned teacher (working directory of run_classifier.py), whose answers on --unlabelled_file are "
        "learnt beside the labels (paper section 4.3.1)."
    )  # fmt: skip
    unlabelled_file: str = option(
        "", "Text files or globs for --teacher_dir, comma-separated: articles as in a corpus."
    )
    unlabelled_batch_size: int = option(32, "Articles of --unlabelled_file per update, beside --train_batch_size.")
    max_unlabelled_texts: int = option(
        0, "Articles drawn from --unlabelled_file; the teacher answers once for each. 0: as many as the updates take."
    )
    task_prediction_loss_weight: float = option(1.0, "Weight of the teacher's answers; the labels weigh 1.")
    task_representation_loss_weight: float = option(
        0.0, "Weight of the squared error between the vectors that teacher and student read the classes from."
    )
    temperature: float = option(1.0, "Temperature of the teacher's answers.")
    metric_for_best: str = option("macro_f1", "Metric on dev that chooses the model.", ("macro_f1", "accuracy"))
    do_train: bool = option(False, "Train; the best weights on dev are kept.")
    do_eval: bool = option(False, "Report on dev, and once on test if there is one.")
    do_predict: bool = option(False, "Classify --predict_file or --text.")
    do_export: bool = option(False, "Write a SavedModel to --export_dir.")
    predict_file: str = option("", "Texts to classify: .tsv, .csv, .jsonl, or one text a line.")
    predict_output_file: str = option("", "Where predictions go; empty: predictions.tsv in --output_dir.")
    text: str = option("", "One sentence to classify; the answer is printed.")
    export_dir: str = option("", "Where the SavedModel goes; empty: saved_model in --output_dir.")

    def __post_init__(self):
        super().__post_init__()
        require(
            self.do_train or self.do_eval or self.do_predict or self.do_export,
            "nothing to do: give at least one of --do_train --do_eval --do_predict --do_export",
        )
        require(
            not (self.do_train or self.do_eval) or bool(self.data_dir),
            "--data_dir is empty: name the folder with train, dev and test files",
        )
        require(
            not self.do_train or bool(self.init_checkpoint),
            "--init_checkpoint is empty: name the --output_dir of run_pretraining.py or run_distill.py",
        )
        require(
            not self.do_predict or bool(self.predict_file) or bool(self.text),
            "--do_predict needs --predict_file=FILE or --text='一句话'",
        )
        require(self.max_seq_length >= 3, f"--max_seq_length={self.max_seq_length}: at least 3")
        require(self.num_train_epochs > 0, f"--num_train_epochs={self.num_train_epochs}: above 0")
        require(0 <= self.warmup_proportion < 1, f"--warmup_proportion={self.warmup_proportion}: from 0 to below 1")
        require(
            bool(self.teacher_dir) == bool(self.unlabelled_file),
            "--teacher_dir and --unlabelled_file need each other: the teacher answers for unlabelled texts",
        )
        require(
            not self.teacher_dir or self.gradient_accumulation_steps == 1,
            "--gradient_accumulation_steps can't be combined with --teacher_dir: a micro-batch could be left "
            "without unlabelled texts; choose a smaller --unlabelled_batch_size",
        )
        require(self.max_unlabelled_texts >= 0, f"--max_unlabelled_texts={self.max_unlabelled_texts}: 0 (all) or more")
        for name in ("task_prediction_loss_weight", "task_representation_loss_weight"):
            require(getattr(self, name) >= 0, f"--{name}={getattr(self, name)}: 0 (off) or more")
        require(self.temperature > 0, f"--temperature={self.temperature}: above 0")
        self._require_at_least_one("eval_every_epochs", "unlabelled_batch_size")
        # A text's own share is drawn from 0 to twice the mean.
        require(0 <= self.token_mask_prob <= 0.5, f"--token_mask_prob={self.token_mask_prob}: from 0 to 0.5")
        require(0 <= self.sentence_drop_prob < 1, f"--sentence_drop_prob={self.sentence_drop_prob}: from 0 to below 1")
        require(0 <= self.classifier_dropout < 1, f"--classifier_dropout={self.classifier_dropout}: from 0 to below 1")
