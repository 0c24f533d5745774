"""What a student looks like and what it starts from."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerShape:
    """Number and width of a student's layers."""

    num_student_layers: int = option(3, "The student's layers (paper: 3).")
    student_width: int = option(
        200, "Width d' of the student's states: both directions together (paper: d' = 200), or the transformer's width."
    )
    units_per_direction: int = option(0, "Of a BiLSTM: width of one direction; 0: half of --student_width.")

    def require_layers(self) -> None:
        """Raises InputError where a number is out of range."""
        for name in ("num_student_layers", "student_width"):
            require(getattr(self, name) >= 1, f"--{name}={getattr(self, name)}: at least 1")
        require(self.units_per_direction >= 0, f"--units_per_direction={self.units_per_direction}: 0 (default) or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentShape(LayerShape):
    """The student's part of `DistillationConfig`."""

    student: str = option(
        "bilstm", "bilstm: the paper's. transformer: BERT's layers, for the methods that compare attention, and as a "
        "teacher assistant between a large teacher and a small student.", ("bilstm", "transformer"),
    )  # fmt: skip
    student_embedding: str = option(
        "full", "Of a BiLSTM: full: token + segment + position, summed (paper). token: token embedding alone.",
        ("full", "token"),
    )  # fmt: skip
    student_attention_heads: int = option(
        0, "Of a transformer; 0: as many as the teacher has, or the most below that which divide --student_width. "
        "Methods that compare attention head by head need the teacher's number."
    )  # fmt: skip
    student_intermediate_size: int = option(
        0, "Of a transformer: width of its feed-forward layers; 0: 4 times --student_width."
    )
    embedding_init: str = option(
        "auto", "pca: the teacher's embeddings, projected to the principal components of its token embedding. random: "
        "fresh weights (paper). auto: pca, unless --init_student_layers brings the teacher's embedding along.",
        ("auto", "pca", "random"),
    )  # fmt: skip
    init_student_layers: tuple[int, ...] = option(
        (), "Layers of the teacher, from 1 as in --layer_map, that a transformer of the teacher's width starts from; "
        "embedding and masked-LM head start from the teacher's too. Empty: fresh weights."
    )  # fmt: skip

    def require_student(self) -> None:
        """Raises InputError where the settings contradict each other."""
        self.require_layers()
        for name in ("student_attention_heads", "student_intermediate_size"):
            require(getattr(self, name) >= 0, f"--{name}={getattr(self, name)}: 0 (default) or more")
        defaults = {field.name: field.default for field in dataclasses.fields(StudentShape)}
        for kind, (names, _) in _KINDS.items():
            for name in names if kind != self.student else ():
                require(
                    getattr(self, name) == defaults[name],
                    f"--{name} is of --student={kind}, this is --student={self.student}: leave it out",
                )
        _KINDS[self.student].require(self)


def require_bilstm(shape: LayerShape) -> None:
    """Raises InputError where the width can't be shared out between the directions."""
    require(
        shape.units_per_direction > 0 or shape.student_width % 2 == 0,
        f"--student_width={shape.student_width} can't be halved: even, or give --units_per_direction",
    )


def _require_transformer(shape: StudentShape) -> None:
    heads = shape.student_attention_heads
    require(
        not heads or shape.student_width % heads == 0,
        f"--student_width={shape.student_width} is not a multiple of --student_attention_heads={heads}",
    )
    layers = ",".join(map(str, shape.init_student_layers))
    require(
        len(shape.init_student_layers) in (0, shape.num_student_layers),
        f"--init_student_layers={layers} names {len(shape.init_student_layers)} teacher layers, the student has "
        f"--num_student_layers={shape.num_student_layers}: name one teacher layer for each student layer",
    )
    require(
        not shape.init_student_layers or shape.embedding_init == "auto",
        f"--init_student_layers={layers} brings the teacher's embedding along: leave out --embedding_init",
    )


class _Kind(NamedTuple):
    flags: tuple[str, ...]  # that no other kind has
    require: Callable[[StudentShape], None]


_KINDS = {
    "bilstm": _Kind(("units_per_direction", "student_embedding"), require_bilstm),
    "transformer": _Kind(
        ("student_attention_heads", "student_intermediate_size", "init_student_layers"), _require_transformer
    ),
}
