"""Trains, evaluates, runs and exports a text classifier on a teacher or a student (paper sections 3.4 and 4.3).

python run_classifier.py --do_train --do_eval --data_dir=data --init_checkpoint=runs/student --output_dir=runs/labels
python run_classifier.py --do_predict --text='负责反应釜的检修' --output_dir=runs/labels
"""

from chemkd_tf import flags, startup
from chemkd_tf.config import ClassificationConfig

flags.define(ClassificationConfig)


def main(config: ClassificationConfig) -> None:
    """Imports TensorFlow only now, so that --help and a wrong flag answer at once."""
    startup.import_tensorflow_quietly()
    from chemkd_tf.stages import classify

    classify.run(config)


if __name__ == "__main__":
    flags.run(main, ClassificationConfig, if_interrupted="the same command goes on from the last checkpoint")
