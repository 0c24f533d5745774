"""Cleans raw text for create_pretraining_data.py: one sentence a line, an empty line between articles.

python data_prep/clean_corpus.py --input_file='raw/*.jsonl.gz,raw/*.txt' --text_field=content --output_file=clean.txt
zcat dump.gz | python data_prep/clean_corpus.py --input_file=- --output_file=clean.txt

What was dropped, why, and examples with file and line stand in clean.txt.report.json. Each step has its flag.
"""

from chemkd_tf import flags
from chemkd_tf.cleaning.cleaner import write_clean_corpus
from chemkd_tf.cleaning.report import summary
from chemkd_tf.config import CleanConfig

flags.define(CleanConfig)


def main(config: CleanConfig) -> None:
    """Cleans and prints a summary."""
    print(summary(write_clean_corpus(config)))


if __name__ == "__main__":
    flags.run(main, CleanConfig)
