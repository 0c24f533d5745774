"""Bytes of the paper's student with its vocabulary pruned and its token embedding factorised, in every format.

    python -m benchmarks.smaller_sizes --vocab_file=vocab_zh.txt --corpus='corpus/*.txt' --output_json=FILE

The weights are random: bytes don't depend on them. 3 BiLSTM layers, width 200, 128 positions, 10 classes, as in the
paper; adds `sizes` to the file that `benchmarks.smaller` writes.
"""

import os
import tempfile

from absl import app, flags

from chemkd_tf import startup
from chemkd_tf.atomic import write_json
from chemkd_tf.workdir import read_json

FLAGS = flags.FLAGS
RANKS = (64, 32)


def define_flags() -> None:
    """Only for the command line: other modules have flags of the same names."""
    flags.DEFINE_string("vocab_file", None, "Google's Chinese vocabulary.")
    flags.DEFINE_string("corpus", None, "Texts of the domain, files or globs.")
    flags.DEFINE_multi_string("export_format", ["onnx"], "Row of chemkd_tf/export/formats.py whose models are files.")
    flags.DEFINE_string("output_json", None, "File for the figures.")
    flags.mark_flags_as_required(["vocab_file", "corpus", "output_json"])


def main(_: list[str]) -> None:
    """Cuts, exports, weighs and writes."""
    startup.import_tensorflow_quietly()
    from chemkd_tf.data.blocks import find_files
    from chemkd_tf.models.architecture import StudentArchitecture
    from chemkd_tf.models.classifier import ClassifierDescription, ClassifierParts
    from chemkd_tf.models.shrinking import factorise_embedding, prune_vocabulary
    from chemkd_tf.stages.shrink import count_tokens
    from chemkd_tf.text.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(FLAGS.vocab_file)
    description = ClassifierDescription(
        StudentArchitecture(vocabulary_size=vocabulary.size), tuple(map(str, range(10))), "max", 128, True
    )
    whole = ClassifierParts(description, vocabulary, description.build())
    counts = count_tokens(whole, find_files(FLAGS.corpus, "corpus"))
    rows = [_weigh("whole vocabulary", whole)]
    rows += [_weigh(f"whole vocabulary, rank {rank}", factorise_embedding(whole, rank)) for rank in RANKS]
    for least in (1, 2, 5):
        pruned = prune_vocabulary(whole, counts, least)
        covered = counts[[vocabulary.id_of(token) for token in pruned.vocabulary.tokens]].sum() / counts.sum()
        name = f"pruned to the corpus, {least} or more"
        rows.append({**_weigh(name, pruned), "share_of_tokens_kept": float(covered)})
        for rank in RANKS if least == 1 else ():
            rows.append(_weigh(f"{name}, rank {rank}", factorise_embedding(pruned, rank)))
    found = read_json(FLAGS.output_json) if os.path.exists(FLAGS.output_json) else {"tasks": {}}
    write_json(FLAGS.output_json, {**found, "sizes": rows})
    print(table(rows))


def table(rows: list[dict]) -> str:
    """The rows in Markdown, megabytes of 10^6 bytes."""
    files = sorted({name for row in rows for name in row["bytes"]})
    lines = [["student of the paper's size", "entries", "parameters", *(f"{name}, MB" for name in files)]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        sizes = [f"{row['bytes'][name] / 1e6:.2f}" for name in files]
        lines.append([row["variant"], f"{row['entries']:,}", f"{row['parameters']:,}", *sizes])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _weigh(name: str, parts) -> dict:
    from chemkd_tf.export.formats import FORMATS
    from chemkd_tf.models.classifier import TextClassifier

    with tempfile.TemporaryDirectory() as folder:
        parts.save(folder)
        classifier = TextClassifier(folder)
        models = [
            path
            for name in FLAGS.export_format
            for path in FORMATS[name].export(classifier, os.path.join(folder, "export", name))
        ]
        sizes = {os.path.relpath(path, os.path.join(folder, "export")): os.path.getsize(path) for path in models}
    row = {"variant": name, "entries": parts.vocabulary.size, "parameters": parts.network.count_params()}
    print(name, sizes, flush=True)
    return {**row, "bytes": sizes}


if __name__ == "__main__":
    define_flags()
    app.run(main)
