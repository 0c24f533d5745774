"""Settings of what turns raw text into a corpus and a vocabulary."""

import dataclasses

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """`data_prep/clean_corpus.py`: raw text to one sentence a line, an empty line between articles."""

    input_file: str = option(
        "", "Files or globs, comma-separated: .txt, .jsonl, .csv or .tsv (also .ndjson, .json), each as it is or with "
        ".gz or .zst behind; or - for standard input. In .txt one line is one paragraph and an empty line ends an "
        "article; in the others a record is an article, and line breaks within its text separate paragraphs."
    )  # fmt: skip
    output_file: str = option(
        "", "Text file to write; what was dropped and why goes to <output_file>.report.json. Neither appears before "
        "both are complete."
    )  # fmt: skip
    input_format: str = option(
        "auto", "Format of every input. auto: by suffix; without a known one (and of standard input) JSON Lines if the "
        "first byte is {, else txt. Compression is seen by itself.", ("auto", "txt", "jsonl", "csv", "tsv"),
    )  # fmt: skip
    text_field: str = option("text", "Key (jsonl) or column of the header (csv, tsv) with the article.")
    one_article_per_line: bool = option(False, "Of txt: each line is an article, instead of what empty lines enclose.")
    max_article_chars: int = option(
        1_000_000, "Of txt: an article that reaches this many characters ends with that line, so that a file without "
        "empty lines needs no more memory."
    )  # fmt: skip
    invalid_utf8: str = option(
        "refuse", "Bytes that are not UTF-8: refuse (stop, naming file and line), drop_article, or replace (each "
        "becomes a space).", ("refuse", "drop_article", "replace"),
    )  # fmt: skip
    remove_html: bool = option(
        True, "Drop tags, comments, scripts and styles, turn entities into characters. Only names of HTML elements are "
        "tags: pH<7 and x<y stay. 10<sup>3</sup> becomes 10³."
    )  # fmt: skip
    drop_control: bool = option(
        True, "Drop control, format, zero-width and byte-order characters; private-use characters (symbol fonts' "
        "bullets) and U+FFFD become a space."
    )  # fmt: skip
    unicode_form: str = option(
        "NFKC", "NFKC: full-width letters and digits become half-width, H₂O becomes H2O, ㎡ m2, Ⅳ IV; an exponent "
        "behind a digit stays (10³ is not 103); every hyphen is -. NFC: only composes accents. none: changes nothing.",
        ("NFKC", "NFC", "none"),
    )  # fmt: skip
    keep_chinese_punctuation: bool = option(
        True, "NFKC leaves ，；：！？（）～…［］︰ as they are; without it they become ASCII. (。、《》“” never "
        "change.) BERT's Chinese vocabulary has both, except for …, — and curly quotation marks."
    )  # fmt: skip
    keep_characters: str = option(
        "℃℉①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳", "More characters that NFKC leaves as they are: ℃ is an entry of BERT's vocabulary, "
        "and ① in front of a number would become part of it."
    )  # fmt: skip
    collapse_white_space: bool = option(True, "Runs of white space become one space; ends of lines lose it.")
    split_sentences: bool = option(
        True, "Split paragraphs after 。！？；… and, where no number, URL, abbreviation or formula is cut, after ! ? ; "
        "and full stops. Lines that are sentences already stay as they are."
    )  # fmt: skip
    max_sentence_chars: int = option(
        512, "A longer sentence is cut at a comma, else at white space, else hard; 0 cuts none. Of --split_sentences."
    )
    min_sentence_chars: int = option(
        4, "Shorter sentences are dropped. Letters, digits and ideographs count; punctuation and spaces do not."
    )
    min_article_chars: int = option(10, "Shorter articles are dropped, counted likewise after their sentences.")
    min_chinese_ratio: float = option(
        0.0, "Articles with a smaller share of ideographs among letters, digits and ideographs are dropped; 0: none."
    )
    drop_duplicates: bool = option(
        True, "Keep the first of articles that differ only in punctuation, white space or case. Needs about 150 bytes "
        "of memory for each article."
    )  # fmt: skip
    near_duplicate_threshold: float = option(
        0.8, "Drop an article whose set of character 5-grams has at least this Jaccard similarity with that of an "
        "earlier one that was kept (estimated by MinHash, standard error 0.035); from 0.5 to 1, 0 turns it off. Needs "
        "datasketch (pip install 'chemkd_tf[clean]') and about 4 kB of memory for each article that is kept."
    )  # fmt: skip
    drop_repeated_sentences: int = option(
        0, "Boilerplate: of each sentence only this many occurrences are kept in the corpus, the first; 0 keeps all. "
        "Needs about 100 bytes of memory for each different sentence."
    )  # fmt: skip

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the files to clean, or - for standard input")
        require(bool(self.output_file), "--output_file is empty: name the text file to write")
        for name in ("min_sentence_chars", "min_article_chars", "drop_repeated_sentences"):
            require(getattr(self, name) >= 0, f"--{name}={getattr(self, name)}: 0 (off) or more")
        require(self.max_article_chars >= 1, f"--max_article_chars={self.max_article_chars}: at least 1")
        require(
            self.max_sentence_chars == 0 or self.max_sentence_chars >= 16,
            f"--max_sentence_chars={self.max_sentence_chars}: at least 16, or 0 (cuts none)",
        )
        require(0 <= self.min_chinese_ratio <= 1, f"--min_chinese_ratio={self.min_chinese_ratio}: from 0 (off) to 1")
        require(
            self.near_duplicate_threshold == 0 or 0.5 <= self.near_duplicate_threshold <= 1,
            f"--near_duplicate_threshold={self.near_duplicate_threshold}: from 0.5 to 1, or 0 (off)",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """`data_prep/build_vocab.py`: a WordPiece vocabulary from the user's own corpus."""

    input_file: str = option(
        "", "Text files or globs, comma-separated: one sentence a line, empty line between articles."
    )
    output_file: str = option("", "The vocabulary to write, one entry a line, as BERT's vocab.txt.")
    vocab_size: int = option(8000, "Largest number of entries. (The paper keeps Google's Chinese vocabulary: 21,128.)")
    min_frequency: int = option(2, "A character or piece seen less often than this gets no entry.")
    do_lower_case: bool = option(True, "Lower-case and strip accents, as BERT's uncased tokeniser does.")

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the corpus")
        require(bool(self.output_file), "--output_file is empty: name the vocabulary to write")
        require(self.vocab_size >= 10, f"--vocab_size={self.vocab_size}: at least 10")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyExtensionConfig:
    """`data_prep/extend_vocab.py`: the characters and words of a domain for a checkpoint's vocabulary."""

    input_file: str = option(
        "", "Text files or globs, comma-separated: one sentence a line, empty line between articles."
    )
    vocab_file: str = option("", "The checkpoint's vocabulary, one entry a line.")
    output_file: str = option(
        "", "The vocabulary to write; what was added and what it changes goes to <output_file>.report.json. Neither "
        "appears before both are complete."
    )  # fmt: skip
    num_new_entries: int = option(
        1000, "Most entries to add: characters that are [UNK] now, the frequent first, then words, those first that "
        "save most tokens."
    )  # fmt: skip
    min_frequency: int = option(
        5, "A character or word seen less often gets no entry: its embedding would hardly be trained."
    )
    do_lower_case: bool = option(True, "Lower-case and strip accents; must agree with the vocabulary.")
    add_words: bool = option(
        True, "Also add words with letters that are several pieces now (naoh, h2so4, pvc; ##ml for 50ml). Chinese "
        "words can't be added: BERT's tokeniser parts every ideograph from its neighbours, whatever the vocabulary "
        "holds."
    )  # fmt: skip
    min_word_length: int = option(2, "Shortest word that --add_words adds, in characters without ##.")
    append: bool = option(
        False, "Append what the [unusedN] entries can't hold. Off, because the embedding table then keeps its shape, "
        "and every program that reads the checkpoint takes the new vocabulary. Appended entries need a larger table."
    )  # fmt: skip

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the corpus")
        require(bool(self.vocab_file), "--vocab_file is empty: name the checkpoint's vocabulary")
        require(bool(self.output_file), "--output_file is empty: name the vocabulary to write")
        for name in ("num_new_entries", "min_frequency"):
            require(getattr(self, name) >= 1, f"--{name}={getattr(self, name)}: at least 1")
        require(self.min_word_length >= 2, f"--min_word_length={self.min_word_length}: at least 2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """`data_prep/split_corpus.py`: holds articles out, so that loss and convergence are judged on unseen text."""

    input_file: str = option(
        "", "Text files or globs, comma-separated: one sentence a line, empty line between articles."
    )
    output_dir: str = option("", "Folder for train.txt and heldout.txt.")
    every: int = option(50, "One article of this many is held out.")

    def __post_init__(self):
        require(bool(self.input_file), "--input_file is empty: name the corpus")
        require(bool(self.output_dir), "--output_dir is empty: name a folder")
        require(self.every >= 2, f"--every={self.every}: at least 2")
