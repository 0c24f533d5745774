"""One side of benchmarks/pretraining.py: makes an update of a masked language model each time it is told to.

    python -m benchmarks.pretraining_update --side=ours

Reads a line of JSON for each update, {"batch": NAME}, and answers with a line: seconds, loss, tokens, peak memory. Both
sides make the same update of the same shape: forward and backward pass of a BERT with its masked-LM head on the masked
positions alone, dropout, gradient clipped at norm 1, AdamW.
"""

import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
VOCABULARY_SIZE, PREDICTIONS, SEED = 21128, 20, 12345
LEARNING_RATE = 1e-4


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_enum("side", "ours", ["ours", "hugging_face"], "Whose model.")
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the products; weights stay float32.")
    flags.DEFINE_integer("num_layers", 6, "Layers.")
    flags.DEFINE_integer("hidden_size", 768, "Width; a head is 64 wide, the feed-forward layer 4 times as wide.")
    flags.DEFINE_integer("train_batch_size", 32, "Rows.")
    flags.DEFINE_integer("max_seq_length", 128, "Tokens a row.")
    flags.DEFINE_list("records", [], "Of our side: prefixes of records, each with two data sets to take batches from.")
    flags.DEFINE_string("vocab_file", "", "Of our side: the vocabulary of the records.")


def main(_: list[str]) -> None:
    """Answers until the input ends."""
    update = {"ours": ours, "hugging_face": hugging_face}[FLAGS.side]()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        loss, tokens = update(json.loads(line)["batch"])
        answer = {"seconds": time.perf_counter() - started, "loss": loss, "tokens": tokens}
        answer["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(answer), flush=True)


def full_batch() -> dict[str, np.ndarray]:
    """Rows without padding, 20 masked positions in each; int32."""
    rng = np.random.default_rng(SEED)
    rows, tokens = FLAGS.train_batch_size, FLAGS.max_seq_length
    token_ids = rng.integers(106, VOCABULARY_SIZE, (rows, tokens))
    mask_positions = np.sort(rng.permuted(np.tile(np.arange(tokens), (rows, 1)), axis=1)[:, :PREDICTIONS], axis=1)
    arrays = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": np.ones_like(token_ids),
        "mask_positions": mask_positions,
        "mask_ids": np.take_along_axis(token_ids, mask_positions, 1),
    }
    return {name: array.astype("int32") for name, array in arrays.items()}


def hugging_face() -> Callable[[str], tuple[float, int]]:
    """BertForMaskedLM of Hugging Face transformers on PyTorch, its head given the masked positions alone."""
    import torch
    import transformers

    torch.manual_seed(SEED)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=FLAGS.hidden_size,
        num_hidden_layers=FLAGS.num_layers,
        num_attention_heads=FLAGS.hidden_size // 64,
        intermediate_size=4 * FLAGS.hidden_size,
    )
    model = transformers.BertForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    arrays = {name: torch.tensor(array).long() for name, array in full_batch().items()}

    def update(_: str) -> tuple[float, int]:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=FLAGS.precision == "bfloat16"):
            states = model.bert(
                input_ids=arrays["token_ids"],
                token_type_ids=arrays["segment_ids"],
                attention_mask=arrays["padding_mask"],
            ).last_hidden_state
            masked = torch.take_along_dim(states, arrays["mask_positions"][..., None], 1)
            logits = model.cls(masked).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits.float(), arrays["mask_ids"].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss), int(arrays["padding_mask"].sum())

    return update


def ours() -> Callable[[str], tuple[float, int]]:
    """`MaskedLanguageModel` and its train step, as run_pretraining.py trains it."""
    from chemkd_tf import startup

    startup.import_tensorflow_quietly()
    import tensorflow as tf

    from chemkd_tf.config import PretrainingConfig
    from chemkd_tf.models.architecture import TeacherArchitecture
    from chemkd_tf.models.checkpoints import build_masked_lm
    from chemkd_tf.stages.pretrain import MaskedLanguageModel
    from chemkd_tf.training.strategy import make_strategy, set_seed_and_precision

    strategy = make_strategy(1)
    set_seed_and_precision(SEED, FLAGS.precision == "bfloat16")
    config = PretrainingConfig(output_dir="-", input_file="-", vocab_file="-", learning_rate=LEARNING_RATE)
    with strategy.scope():
        architecture = TeacherArchitecture(
            vocabulary_size=VOCABULARY_SIZE,
            num_layers=FLAGS.num_layers,
            hidden_dim=FLAGS.hidden_size,
            num_heads=FLAGS.hidden_size // 64,
            intermediate_dim=4 * FLAGS.hidden_size,
        )
        model = MaskedLanguageModel(build_masked_lm(architecture), SEED)
        model.compile_for(config, 1_000_000, 0)
    arrays = full_batch()
    weights = {"mask_weights": (FLAGS.train_batch_size, PREDICTIONS), "example_weight": (FLAGS.train_batch_size,)}
    arrays |= {name: np.ones(shape, "float32") for name, shape in weights.items()}
    datasets = {"full": tf.data.Dataset.from_tensors(arrays).repeat()}
    datasets |= {name: dataset for prefix in FLAGS.records for name, dataset in of_records(prefix, config)}
    batches = {name: iter(strategy.experimental_distribute_dataset(data)) for name, data in datasets.items()}

    @tf.function(reduce_retracing=True)
    def train_step(batch):
        return strategy.run(model.train_step, args=(batch,))

    def update(name: str) -> tuple[float, int]:
        batch = next(batches[name])
        return float(train_step(batch)["loss"]), int(tf.reduce_sum(batch["padding_mask"]))

    return update


def of_records(prefix: str, config) -> list[tuple]:
    """Batches of records as google-research/bert pads them, and of rows of like length within the same tokens."""
    import tensorflow as tf

    from chemkd_tf.data.datasets import pretraining_batches
    from chemkd_tf.data.manifest import read_manifest

    widths = {"mask": PREDICTIONS, "token": FLAGS.max_seq_length}

    def padded(batch):
        def pad(name, value):
            if value.shape.rank != 2:
                return value
            width = widths["mask" if name.startswith("mask_") else "token"]
            full = tf.pad(value, [[0, 0], [0, width - tf.shape(value)[1]]])
            return tf.ensure_shape(full, [FLAGS.train_batch_size, width])

        return {name: pad(name, value) for name, value in batch.items()}

    manifest = read_manifest(prefix)
    rows = pretraining_batches(manifest, FLAGS.train_batch_size, SEED)
    budget = FLAGS.train_batch_size * FLAGS.max_seq_length
    grouped = pretraining_batches(manifest, FLAGS.train_batch_size, SEED, batch_tokens=budget)
    return [(f"{prefix}:padded", rows.map(padded)), (f"{prefix}:grouped", grouped)]


if __name__ == "__main__":
    define_flags()
    app.run(main)
