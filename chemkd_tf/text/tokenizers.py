"""Kinds of tokenisers, a line each: what a classifier reads its texts with. A new kind is a new file and a line."""

from collections.abc import Callable
from typing import NamedTuple

from chemkd_tf.text.tokenization import BertTokenizer, Tokenizer
from chemkd_tf.text.vocabulary import Vocabulary
from chemkd_tf.text.word_tokenization import WordTokenizer


class TokenizerKind(NamedTuple):
    """A way to make ids of strings.

    Attributes:
        make: (vocabulary, do_lower_case, path of the user dictionary or "") to the tokeniser.
        obstacle: why a model with it can't answer outside of Python; empty where it can.
    """

    make: Callable[[Vocabulary, bool, str], Tokenizer]
    obstacle: str = ""


TOKENIZERS: dict[str, TokenizerKind] = {
    "wordpiece": TokenizerKind(lambda vocabulary, do_lower_case, _: BertTokenizer(vocabulary, do_lower_case)),
    "words": TokenizerKind(WordTokenizer, "its words come from jieba, which runs in Python alone"),
}
