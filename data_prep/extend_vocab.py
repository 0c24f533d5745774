"""Characters and words of your domain for the vocabulary of a pretrained BERT, whose entries all keep their ids.

python data_prep/extend_vocab.py --input_file='corpus/*.txt' --vocab_file=bert/vocab.txt --output_file=vocab.txt

They go into the vocabulary's [unusedN] entries and, with --append, behind its last one. vocab.txt.report.json says what
share of the corpus's [UNK] that removes, and for each entry the old pieces that its embedding begins as the mean of.

For Chinese, single characters are added. An entry of several would never be used: BERT's tokeniser parts every
ideograph from its neighbours before it looks for entries, so 聚氯乙烯 stays four tokens. Words with letters (naoh,
h2so4, pvc) become one token.
"""

from chemkd_tf import flags
from chemkd_tf.config import VocabularyExtensionConfig
from chemkd_tf.data.domain_vocabulary import summary, write_extended_vocabulary

flags.define(VocabularyExtensionConfig)


def main(config: VocabularyExtensionConfig) -> None:
    """Extends the vocabulary and prints what it changes."""
    print(summary(write_extended_vocabulary(config)))


if __name__ == "__main__":
    flags.run(main, VocabularyExtensionConfig)
