"""The shape of an encoder, as architecture.json keeps it. Plain data: a stage reads it instead of asking for flags."""

import dataclasses

from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.workdir import read_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherArchitecture:
    """A transformer encoder with its masked-LM head. Defaults: BERT-base cut to 6 layers (paper section 3.2).

    Transformer students have it too, and so can teach in their turn.

    Args:
        family: row of `families.table`.
        embedding_dim: width of the token embedding (ALBERT, ELECTRA); 0: `hidden_dim`.
        num_groups: of layers that share weights (ALBERT).
        num_inner_repetitions: transformer layers that count as one (ALBERT).
        num_segments: 0 where there is no segment embedding (DistilBERT).
        activation: of the feed-forward layers: "gelu", "gelu_tanh" (its tanh approximation) or "relu".
        head_activation: of the masked-LM head.
        layer_norm_epsilon: of every LayerNorm.
        tied_decoder: whether the head's product with the vocabulary is the token embedding.
    """

    kind: str = "teacher"
    family: str = "bert"
    vocabulary_size: int = 21128
    num_layers: int = 6
    num_heads: int = 12
    hidden_dim: int = 768
    intermediate_dim: int = 3072
    dropout: float = 0.1
    max_sequence_length: int = 512
    num_segments: int = 2
    embedding_dim: int = 0
    num_groups: int = 1
    num_inner_repetitions: int = 1
    activation: str = "gelu_tanh"
    head_activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    tied_decoder: bool = True

    @property
    def embedding_width(self) -> int:
        """Width of the state `embedding`, which a factorised token embedding is projected to."""
        return self.hidden_dim

    @property
    def layer_width(self) -> int:
        """Width of the states `hidden_1` ..."""
        return self.hidden_dim


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentArchitecture:
    """A stack of BiLSTMs (paper section 3.3: 3 layers, d' = 200).

    `units_per_direction` 0 means half of `hidden_dim`, so that a layer's output is `hidden_dim` wide. `embedding` is
    "full" (token + segment + position) or "token". `embedding_rank` above 0: the token embedding is a product of two
    matrices, `[V, embedding_rank]` and `[embedding_rank, hidden_dim]` (see `shrinking.factorise_embedding`).
    """

    kind: str = "student"
    vocabulary_size: int = 21128
    num_layers: int = 3
    hidden_dim: int = 200
    units_per_direction: int = 0
    embedding: str = "full"
    dropout: float = 0.0
    max_sequence_length: int = 128
    num_segments: int = 2
    embedding_rank: int = 0

    @property
    def embedding_width(self) -> int:
        """Width of the state `embedding`."""
        return self.hidden_dim

    @property
    def layer_width(self) -> int:
        """Width of the states `hidden_1` ...: both directions."""
        return 2 * (self.units_per_direction or self.hidden_dim // 2)


Architecture = TeacherArchitecture | StudentArchitecture
_KINDS = {"teacher": TeacherArchitecture, "student": StudentArchitecture}


def save_architecture(path: str, architecture: Architecture, do_lower_case: bool) -> None:
    """Writes architecture.json; `do_lower_case` goes along because whoever feeds the model needs it."""
    write_json(path, {**dataclasses.asdict(architecture), "do_lower_case": do_lower_case})


def load_architecture(path: str) -> tuple[Architecture, bool]:
    """Returns the architecture and whether text is lower-cased.

    Raises:
        InputError: missing file, or written by another version.
    """
    values = read_json(path)
    try:
        do_lower_case = values.pop("do_lower_case")
        return architecture_from_dict(values), do_lower_case
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not an architecture this version can read ({error})") from None


def architecture_from_dict(values: dict) -> Architecture:
    """The inverse of `dataclasses.asdict`: `kind` says which class.

    Raises:
        KeyError: unknown kind.
        TypeError: unknown or missing fields.
    """
    return _KINDS[values["kind"]](**values)
