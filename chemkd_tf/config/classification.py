"""Settings of the third stage."""

import dataclasses

from chemkd_tf.config.export import ExportConfig
from chemkd_tf.config.method import MethodConfig
from chemkd_tf.config.options import option, require
from chemkd_tf.config.shrinking import ShrinkingConfig
from chemkd_tf.config.training import TrainingConfig
from chemkd_tf.config.word_model import WordModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationConfig(MethodConfig, ExportConfig, ShrinkingConfig, WordModelConfig, TrainingConfig):
    """`run_classifier.py`: a downstream network over the encoder's output sequence (paper sections 3.4 and 4.3)."""

    data_dir: str = option("", "Folder with train, dev and test as .tsv, .csv or .jsonl (text and label).")
    init_checkpoint: str = option(
        "", "Working directory of run_pretraining.py or run_distill.py: the encoder. Or of run_classifier.py: a "
        "trained classifier of the same labels, which keeps its own --pooling and --max_seq_length."
    )  # fmt: skip
    random_init: bool = option(False, "Same encoder with fresh weights: the undistilled baseline.")
    freeze_encoder: bool = option(False, "Train the classification layer only.")
    pooling: str = option(
        "auto", "How the output sequence becomes one vector; auto: max, of word_bilstm last (paper section 4.3.1).",
        ("auto", "last", "max", "mean", "cls"),
    )  # fmt: skip
    classifier_dropout: float = option(0.1, "Dropout before the classification layer.")
    max_seq_length: int = option(
        128, "Tokens per text with [CLS] and [SEP]; the rest is cut off at the end. An encoder that takes fewer is "
        "made to read on."
    )  # fmt: skip
    learning_rate: float = option(0.0, "Peak of warm-up, then linear decay; 0: 1e-3 for a student, 1e-4 for a teacher.")
    num_train_epochs: float = option(10.0, "Passes over the training set.")
    warmup_proportion: float = option(0.1, "Share of the updates that warm up.")
    token_mask_prob: float = option(
        0.0, "Mean share of a training text's tokens replaced by [MASK], drawn anew each time: helps with few labels."
    )
    adversarial_epsilon: float = option(
        0.0, "Length of the step by which a training text's embeddings are moved to where its loss is largest, to be "
        "learnt from there, too (arXiv:1605.07725): helps with texts of other documents, an update takes two to "
        "three times as long. 0: off."
    )  # fmt: skip
    sentence_drop_prob: float = option(0.0, "Probability of leaving out each sentence of a training text.")
    shuffle_sentences: bool = option(False, "Put the sentences of a training text in random order each time.")
    eval_every_epochs: int = option(1, "Passes between evaluations on dev.")
    teacher_dir: str = option(
        "", "A fine-tuned teacher (working directory of run_classifier.py), from whom the student learns by --method "
        "beside the labels (paper section 4.3.1)."
    )  # fmt: skip
    method: str = option("logits_only", "With --teacher_dir: row of chemkd_tf/distillation/recipes.py.")
    representation_loss_weight: float = option(
        0.0, "With --teacher_dir: weight of the squared error between the vectors that teacher and student read the "
        "classes from, whatever the --method."
    )  # fmt: skip
    unlabelled_file: str = option(
        "", "Text files or globs for --teacher_dir, comma-separated: articles as in a corpus. The teacher is then "
        "learnt from on these, the labels on the others; empty: both on the labelled texts."
    )  # fmt: skip
    unlabelled_batch_size: int = option(32, "Articles of --unlabelled_file per update, beside --train_batch_size.")
    max_unlabelled_texts: int = option(
        0, "Articles drawn from --unlabelled_file; the teacher reads each once. 0: as many as the updates take."
    )
    teacher_cache_gb: float = option(
        4.0, "Most gigabytes on disk for what the teacher says of texts that don't change, so that it is asked once "
        "and not at every update; more is refused. 0: it is asked at every update."
    )  # fmt: skip
    teacher_cache_dir: str = option(
        "", "Where that is kept; empty: taught in --output_dir. Students of one teacher may share a folder: what has "
        "been asked about the same texts is not asked again."
    )  # fmt: skip
    metric_for_best: str = option("macro_f1", "Metric on dev that chooses the model.", ("macro_f1", "accuracy"))
    do_train: bool = option(False, "Train; the best weights on dev are kept.")
    do_eval: bool = option(False, "Report on dev, and once on test if there is one.")

    def __post_init__(self):
        super().__post_init__()
        require(
            self.do_train or self.do_shrink or self.do_eval or self.do_predict or self.do_export,
            "nothing to do: give at least one of --do_train --do_shrink --do_eval --do_predict --do_export",
        )
        require(
            not (self.do_train or self.do_eval) or bool(self.data_dir),
            "--data_dir is empty: name the folder with train, dev and test files",
        )
        require(
            not self.do_train or bool(self.init_checkpoint) or self.model == "word_bilstm",
            "--init_checkpoint is empty: name the --output_dir of run_pretraining.py or run_distill.py",
        )
        require(
            not self.do_shrink or bool(self.init_checkpoint),
            "--init_checkpoint is empty: name the --output_dir of the classifier to shrink",
        )
        self.require_word_model(
            init_checkpoint=self.init_checkpoint,
            random_init=self.random_init,
            freeze_encoder=self.freeze_encoder,
            teacher_dir=self.teacher_dir,
        )
        require(
            not self.do_export or self.model != "word_bilstm",
            "--do_export with --model=word_bilstm: its words come from jieba, which runs in Python alone; use it with "
            "--do_predict",
        )
        self.require_shrinking(self.do_train)
        self.require_export()
        require(self.max_seq_length >= 3, f"--max_seq_length={self.max_seq_length}: at least 3")
        require(self.num_train_epochs > 0, f"--num_train_epochs={self.num_train_epochs}: above 0")
        require(0 <= self.warmup_proportion < 1, f"--warmup_proportion={self.warmup_proportion}: from 0 to below 1")
        require(
            bool(self.teacher_dir) or not self.unlabelled_file,
            "--unlabelled_file needs --teacher_dir: a fine-tuned teacher that answers for these texts",
        )
        require(
            not self.teacher_dir or self.gradient_accumulation_steps == 1,
            "--gradient_accumulation_steps can't be combined with --teacher_dir: a micro-batch could be left "
            "without unlabelled texts; choose a smaller --unlabelled_batch_size",
        )
        require(self.max_unlabelled_texts >= 0, f"--max_unlabelled_texts={self.max_unlabelled_texts}: 0 (all) or more")
        self.require_method()
        for name in ("representation_loss_weight", "teacher_cache_gb"):
            require(getattr(self, name) >= 0, f"--{name}={getattr(self, name)}: 0 (off) or more")
        self._require_at_least_one("eval_every_epochs", "unlabelled_batch_size")
        require(self.adversarial_epsilon >= 0, f"--adversarial_epsilon={self.adversarial_epsilon}: 0 (off) or more")
        require(
            not self.adversarial_epsilon or not self.teacher_dir,
            "--adversarial_epsilon can't be combined with --teacher_dir: a teacher's answers aren't those at moved "
            "embeddings; give one of them",
        )
        # A text's own share is drawn from 0 to twice the mean.
        require(0 <= self.token_mask_prob <= 0.5, f"--token_mask_prob={self.token_mask_prob}: from 0 to 0.5")
        require(0 <= self.sentence_drop_prob < 1, f"--sentence_drop_prob={self.sentence_drop_prob}: from 0 to below 1")
        require(0 <= self.classifier_dropout < 1, f"--classifier_dropout={self.classifier_dropout}: from 0 to below 1")
