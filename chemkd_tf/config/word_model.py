"""Settings of the student without distillation of paper section 4.3.1: a BiLSTM over words, from fresh weights."""

import dataclasses

from chemkd_tf.config.options import option, require
from chemkd_tf.config.student import LayerShape, require_bilstm

MODELS = ("pretrained", "word_bilstm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordModelConfig(LayerShape):
    """`run_classifier.py --model=word_bilstm`; the shape of other models is that of --init_checkpoint."""

    model: str = option(
        "pretrained", "pretrained: the encoder of --init_checkpoint. word_bilstm: BiLSTMs over the words of the "
        "training texts, from fresh weights (paper section 4.3.1, without distillation); needs no checkpoint.", MODELS,
    )  # fmt: skip
    min_word_count: int = option(2, "Of word_bilstm: words that occur less often in the training texts are [UNK].")
    max_words: int = option(20000, "Of word_bilstm: most words, the most frequent ones; 0: all.")
    user_dictionary: str = option("", "Of word_bilstm: a file of more words in jieba's format; kept with the model.")

    def require_word_model(self, **excluded: object) -> None:
        """Raises InputError where the settings contradict each other.

        Args:
            **excluded: settings that need a checkpoint, with their values.
        """
        if self.model != "word_bilstm":
            for field in dataclasses.fields(WordModelConfig):
                value = getattr(self, field.name)
                require(
                    field.name == "model" or value == field.default,
                    f"--{field.name}={value} is of --model=word_bilstm; the shape and the vocabulary of others are "
                    "those of --init_checkpoint: leave it out",
                )
            return
        self.require_layers()
        require_bilstm(self)
        require(self.min_word_count >= 1, f"--min_word_count={self.min_word_count}: at least 1")
        require(self.max_words >= 0, f"--max_words={self.max_words}: 0 (all) or more")
        for name, value in excluded.items():
            require(not value, f"--{name} with --model=word_bilstm, which begins with fresh weights: leave it out")
