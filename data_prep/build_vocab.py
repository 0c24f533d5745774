"""A WordPiece vocabulary from your own corpus, in the format of BERT's vocab.txt.

python data_prep/build_vocab.py --input_file='corpus/*.txt' --output_file=vocab.txt --vocab_size=8000
"""

import time

from chemkd_tf import flags, startup
from chemkd_tf.config import VocabularyConfig

flags.define(VocabularyConfig)


def main(config: VocabularyConfig) -> None:
    """Imports TensorFlow only now, so that --help and a wrong flag answer at once."""
    startup.import_tensorflow_quietly()
    import tensorflow as tf

    from chemkd_tf.data.blocks import find_files, read_lines
    from chemkd_tf.text.vocabulary import save_vocabulary
    from chemkd_tf.text.vocabulary_builder import build_vocabulary

    tf.config.set_visible_devices([], "GPU")
    started = time.monotonic()
    lines = read_lines(find_files(config.input_file))
    vocabulary = build_vocabulary(lines, config.vocab_size, config.min_frequency, config.do_lower_case)
    save_vocabulary(vocabulary, config.output_file)
    print(f"{vocabulary.size:,} entries in {config.output_file}, {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    flags.run(main, VocabularyConfig)
