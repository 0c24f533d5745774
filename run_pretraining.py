"""Pretrains the teacher, fresh or imported, cut to its lower layers; masked language model only (paper section 3.2).

python run_pretraining.py --input_file=records/train --vocab_file=vocab.txt --output_dir=runs/teacher
"""

from chemkd_tf import flags, startup
from chemkd_tf.config import PretrainingConfig

flags.define(PretrainingConfig)


def main(config: PretrainingConfig) -> None:
    """Imports TensorFlow only now, so that --help and a wrong flag answer at once."""
    startup.import_tensorflow_quietly()
    from chemkd_tf.stages import pretrain
    from chemkd_tf.training import restarts

    restarts.run_as_worker(lambda: pretrain.train_and_evaluate(config))


if __name__ == "__main__":
    flags.run(main, PretrainingConfig, if_interrupted="the same command goes on from the last checkpoint")
