"""Variants of labelled texts, for small data sets: words replaced by a masked language model, swapped, left out.

python data_prep/augment_labelled.py --input_file=labels/train.tsv --teacher_dir=runs/teacher \
  --output_file=augmented/train.tsv --output_unlabelled=augmented/texts.txt

Numbers, units, formulae, codes, Latin words, negations and punctuation stay as they are. The same seed gives the same
bytes; killed, it goes on when the same command is given again. docs/augmentation.md says more.
"""

from chemkd_tf import flags, startup
from chemkd_tf.config import AugmentationConfig

flags.define(AugmentationConfig)


def main(config: AugmentationConfig) -> None:
    """Writes the variants and says what was changed. TensorFlow is imported only where a model is asked."""
    if config.replace_prob:
        startup.import_tensorflow_quietly()
    from chemkd_tf.stages.augment import augment

    print(f"{augment(config)}; {config.output_file}")


if __name__ == "__main__":
    flags.run(main, AugmentationConfig, if_interrupted="give the same command again, it goes on")
