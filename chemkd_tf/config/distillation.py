"""Settings of the second stage."""

import dataclasses

from chemkd_tf.config.method import MethodConfig
from chemkd_tf.config.options import option, require
from chemkd_tf.config.student import StudentShape
from chemkd_tf.config.training import TrainingConfig, train_batch_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig(StudentShape, MethodConfig, TrainingConfig):
    """`run_distill.py`: embedding, hidden and prediction layers of the teacher into a student (paper section 3.3)."""

    input_file: str = option("", "TFRecords for distillation: a prefix, files or globs, comma-separated.")
    eval_input_file: str = option("", "TFRecords of held-out text; empty: no evaluation.")
    teacher_dir: str = option(
        "", "Working directory of run_pretraining.py, or best/ in it: the weights with the lowest held-out loss."
    )
    train_batch_tokens: int = train_batch_tokens()
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
        self.require_method()
        self.require_student()
        given = self.layer_map != DistillationConfig.layer_map
        require(
            not given or len(self.layer_map) == self.num_student_layers,
            f"--layer_map={','.join(map(str, self.layer_map))} names {len(self.layer_map)} teacher layers, the student "
            f"has --num_student_layers={self.num_student_layers}: name one teacher layer for each student layer",
        )
        self._require_at_least_one("num_train_steps", "eval_every_steps", "patience")
        require(self.train_batch_tokens >= 0, f"--train_batch_tokens={self.train_batch_tokens}: 0 (off) or more")
        require(
            not self.stop_when_converged or bool(self.eval_input_file),
            "--stop_when_converged needs --eval_input_file: convergence is judged on held-out text",
        )
