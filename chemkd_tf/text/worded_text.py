"""A text as jieba's words and BERT's tokens at once: where in the token sequence each Chinese word stands."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chemkd_tf.text.block_tokenization import BlockTokenizer, is_ideograph
from chemkd_tf.text.segmentation import WordSegmenter


class WordedText(NamedTuple):
    """A text.

    Attributes:
        words: jieba's, of the text as it is; joined, they are the text.
        token_ids: int32 [T], without special tokens: those of google-research/bert's tokeniser.
        first_tokens: for each word of ideographs alone, its first token's place in `token_ids`, one token a character;
            -1 for other words.
    """

    words: list[str]
    token_ids: np.ndarray
    first_tokens: list[int]


def word_texts(texts: Sequence[str], segmenter: WordSegmenter, tokenizer: BlockTokenizer) -> list[WordedText]:
    """Returns the words and tokens of each text.

    BERT's tokeniser parts an ideograph from its neighbours before anything else, so the stretches between ideographs
    can be tokenised by themselves: that tells which token is which character of the original.

    Args:
        texts: without lone surrogates.
        segmenter: finds words.
        tokenizer: gives ids.
    """
    stretches = [[list(group) for _, group in itertools.groupby(text, _is_ideograph)] for text in texts]
    # A line for each stretch; line breaks within one are white space to the tokeniser.
    lines = ["".join(stretch).replace("\n", " ") for of_text in stretches for stretch in of_text]
    tokens = tokenizer.tokenize("\n".join(lines))
    found, line = [], 0
    for text, of_text in zip(texts, stretches, strict=True):
        first_line, line = line, line + len(of_text)
        first = int(tokens.line_splits[first_line])
        starts = [int(start) - first for start in tokens.line_splits[first_line:line]]
        token_of: list[int] = []  # of each character
        for stretch, start in zip(of_text, starts, strict=True):
            chinese = _is_ideograph(stretch[0])
            token_of += range(start, start + len(stretch)) if chinese else [-1] * len(stretch)
        words = segmenter.words(text)
        ends = list(itertools.accumulate(map(len, words)))
        firsts = [
            token_of[end - len(word)] if min(token_of[end - len(word) : end]) >= 0 else -1
            for word, end in zip(words, ends, strict=True)
        ]
        last = int(tokens.line_splits[line]) if of_text else first
        found.append(WordedText(words, tokens.token_ids[first:last], firsts))
    return found


def _is_ideograph(character: str) -> bool:
    return is_ideograph(ord(character))
