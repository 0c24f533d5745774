"""The runtimes of benchmarks/inference.py, a line each: what makes the model, and what answers with it.

Everything heavy is imported by the function that needs it: the process of an ONNX model must not hold TensorFlow.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from benchmarks.inference_models import OURS

Answer = Callable[[np.ndarray], np.ndarray]  # token ids int32 [B, T] to probabilities float32 [B, C]
_MOST_ROWS = 16  # of a thread, as in our client
_TRIALS = 3
_XLA_TOKENS = 16  # XLA compiles anew for every length: its users pad to a multiple


class Job(NamedTuple):
    """A model to be made.

    Attributes:
        model: row of `MODELS`.
        classifier_dir: its classifier.
        cache_dir: where what is made lies, `cache_dir/FORMAT/model`.
        peer_python: an interpreter with torch and transformers.
    """

    model: str
    classifier_dir: str
    cache_dir: str
    peer_python: str


class Runtime(NamedTuple):
    """A way to answer.

    Attributes:
        title: for tables.
        group: its models take turns with those of the same group.
        make: makes the model, unless it is there, and returns its path.
        load: from the path and a number of threads.
        batch_sizes: of the cells that are timed.
        compiled_tokens: a program is compiled for each multiple of so many tokens, when it is first met; 0: none is.
    """

    title: str
    group: str
    make: Callable[[Job], str]
    load: Callable[[str, int], Answer]
    batch_sizes: tuple[int, ...] = (1, 32, 256)
    compiled_tokens: int = 0


def make_weights(job: Job) -> str:
    """Nothing to make: Keras loads the classifier."""
    return os.path.join(job.classifier_dir, "classifier.weights.h5")


def exporter(format_name: str, model_file: str) -> Callable[[Job], str]:
    """Returns what exports by a row of `chemkd_tf.export.formats.FORMATS`."""

    def make(job: Job) -> str:
        folder = os.path.join(job.cache_dir, format_name, job.model)
        path = os.path.join(folder, model_file).rstrip("/")
        if not os.path.exists(path):
            from chemkd_tf.export.formats import FORMATS
            from chemkd_tf.models.classifier import TextClassifier

            FORMATS[format_name].export(TextClassifier(job.classifier_dir), folder)
        return path

    return make


def make_onnx(precision: str) -> Callable[[Job], str]:
    """Returns what makes an ONNX model: ours as we export it, BERT as the users of transformers do."""
    ours = exporter("onnx", f"{precision}.onnx")

    def make(job: Job) -> str:
        return ours(job) if job.model == OURS else os.path.join(_optimised_bert(job), f"{precision}.onnx")

    return make


def _optimised_bert(job: Job) -> str:
    folder = os.path.join(job.cache_dir, "onnx", job.model)
    if not os.path.exists(os.path.join(folder, "int8.onnx")):
        from benchmarks.inference_hugging_face import write_hugging_face

        source = write_hugging_face(job.classifier_dir, os.path.join(job.cache_dir, "hugging_face", job.model))
        command = [job.peer_python, "-m", "benchmarks.inference_torch", source, folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = "".join(done.stderr.strip().splitlines()[-1:])
            sys.exit(f"error: {job.model} by transformers: {last}; --peer_python needs pip install -e '.[benchmark]'")
    return folder


def load_keras(path: str, threads: int, jit_compile: bool = False) -> Answer:
    """The Keras network in a tf.function of any shape."""
    tf = import_tensorflow(threads)
    from chemkd_tf.models.classifier import TextClassifier

    classifier = TextClassifier(os.path.dirname(path))
    pad_id = classifier.vocabulary.pad_id
    signature = None if jit_compile else [tf.TensorSpec([None, None], tf.int32)]

    @tf.function(input_signature=signature, jit_compile=jit_compile)
    def probabilities(token_ids):
        batch = {
            "token_ids": token_ids,
            "segment_ids": tf.zeros_like(token_ids),
            "padding_mask": tf.cast(token_ids != pad_id, tf.int32),
        }
        return tf.nn.softmax(classifier.network(batch, training=False))

    return lambda token_ids: probabilities(tf.constant(token_ids)).numpy()


def load_xla(path: str, threads: int) -> Answer:
    """The same compiled by XLA, a program for each shape; ours with Keras's loop, as XLA knows no BlockLSTM."""
    import_tensorflow(threads)
    from chemkd_tf.models import bilstm

    bilstm._fused_kernel_serves = lambda dtype: False
    answer = load_keras(path, threads, jit_compile=True)
    return lambda token_ids: answer(np.pad(token_ids, [(0, 0), (0, -token_ids.shape[1] % _XLA_TOKENS)]))


def load_saved_model(path: str, threads: int) -> Answer:
    """A SavedModel's signature for ids."""
    tf = import_tensorflow(threads)
    loaded = tf.saved_model.load(path)
    classify = loaded.signatures["token_ids"]
    return lambda token_ids: (loaded, classify(token_ids=tf.constant(token_ids))["probabilities"].numpy())[1]


def load_exported(path: str, threads: int) -> Answer:
    """Our .onnx, or any .tflite, by the client that lies beside it: as many rows at once as it takes."""
    from chemkd_tf.export import client

    classifier = client.Classifier(path, threads)
    run = classifier._model

    def answer(token_ids: np.ndarray) -> np.ndarray:
        lengths, at_once = np.count_nonzero(token_ids, axis=1), run.rows_at_once(len(token_ids))
        parts = [slice(start, start + at_once) for start in range(0, len(token_ids), at_once)]
        batches = [np.ascontiguousarray(token_ids[part, : lengths[part].max()]) for part in parts]
        return np.concatenate(run(batches, list))

    answer.classify = classifier.classify  # as its users have it: it tokenises for all threads
    return answer


def load_bert_onnx(path: str, threads: int) -> Answer:
    """BERT in a session with all of its own optimisations; several texts in the quickest of three ways."""
    session = onnx_session(path, threads)

    def together(token_ids: np.ndarray) -> np.ndarray:
        return session.run(None, onnx_inputs(session, token_ids))[0]

    many: list[Answer] = []

    def answer(token_ids: np.ndarray) -> np.ndarray:
        if len(token_ids) == 1:
            return together(token_ids)
        if not many:  # The other sessions come with the first batch: the memory of single texts holds none.
            many.append(_quickest(together, *(_by_rows(path, threads, sessions) for sessions in {1, threads})))
        return many[0](token_ids)

    return answer


def _by_rows(path: str, threads: int, num_sessions: int) -> Answer:
    """Returns what gives each thread rows of its own, in one session of one thread for all or in several."""
    sessions, pool = [onnx_session(path, 1) for _ in range(num_sessions)], ThreadPoolExecutor(threads)

    def run(number: int, part: np.ndarray) -> np.ndarray:
        session = sessions[number % num_sessions]
        return session.run(None, onnx_inputs(session, part))[0]

    def answer(token_ids: np.ndarray) -> np.ndarray:
        size = min(_MOST_ROWS, -(-len(token_ids) // threads))
        parts = [token_ids[start : start + size] for start in range(0, len(token_ids), size)]
        lengths = [np.count_nonzero(part, axis=1).max() for part in parts]
        parts = [np.ascontiguousarray(part[:, :length]) for part, length in zip(parts, lengths, strict=True)]
        return np.concatenate(list(pool.map(run, range(len(parts)), parts)))

    return answer


def _quickest(*answers: Answer) -> Answer:
    """Returns the one that is soonest done with 32 texts of 128 tokens; the best of three calls each, in turn."""
    token_ids = np.ones([32, 128], np.int32)
    least = [float("inf")] * len(answers)
    for _ in range(_TRIALS):
        for number, answer in enumerate(answers):
            started = time.perf_counter()
            answer(token_ids)
            least[number] = min(least[number], time.perf_counter() - started)
    return answers[least.index(min(least))]


def load_onnx(path: str, threads: int) -> Answer:
    """Ours by its client, BERT by a session."""
    return (load_exported if os.path.isfile(_beside(path, "client.py")) else load_bert_onnx)(path, threads)


def onnx_session(path: str, threads: int, **options: Any):
    """A session with ONNX Runtime's defaults, but for the threads and what is given."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


_FURTHER_INPUTS = {
    "attention_mask": lambda token_ids: (token_ids != 0).astype(np.int32),
    "token_type_ids": np.zeros_like,
}


def onnx_inputs(session, token_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Names of a session's inputs to their arrays, int32 [B, T]."""
    return {each.name: _FURTHER_INPUTS.get(each.name, np.asarray)(token_ids) for each in session.get_inputs()}


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)


def import_tensorflow(threads: int):
    """TensorFlow on so many threads."""
    from chemkd_tf import startup

    startup.import_tensorflow_quietly()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    startup.run_first_operation_quietly()
    return tf


RUNTIMES: dict[str, Runtime] = {
    "keras": Runtime("Keras", "keras", make_weights, load_keras),
    "xla": Runtime("Keras, XLA", "xla", make_weights, load_xla, compiled_tokens=_XLA_TOKENS),
    "saved_model": Runtime("SavedModel", "saved_model", exporter("saved_model", ""), load_saved_model),
    "litert_fp32": Runtime("LiteRT fp32", "litert", exporter("litert", "fp32.tflite"), load_exported, (1, 32)),
    "litert_int8": Runtime("LiteRT int8", "litert", exporter("litert", "int8.tflite"), load_exported, (1, 32)),
    "onnx_fp32": Runtime("ONNX Runtime fp32", "onnx", make_onnx("fp32"), load_onnx),
    "onnx_int8": Runtime("ONNX Runtime int8", "onnx", make_onnx("int8"), load_onnx),
}
