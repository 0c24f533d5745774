"""Distils a teacher's embedding, hidden and prediction layers into a BiLSTM student (paper section 3.3).

python run_distill.py --input_file=records/train --teacher_dir=runs/teacher --output_dir=runs/student
"""

from chemkd_tf import flags, startup
from chemkd_tf.config import DistillationConfig

flags.define(DistillationConfig)


def main(config: DistillationConfig) -> None:
    """Imports TensorFlow only now, so that --help and a wrong flag answer at once."""
    startup.import_tensorflow_quietly()
    from chemkd_tf.stages import distill
    from chemkd_tf.training import restarts

    restarts.run_as_worker(lambda: distill.train_and_evaluate(config))


if __name__ == "__main__":
    flags.run(main, DistillationConfig, if_interrupted="the same command goes on from the last checkpoint")
