"""Text to masked TFRecords for run_pretraining.py and run_distill.py (paper section 3.1).

    python data_prep/create_pretraining_data.py --input_file='corpus/*.txt' --vocab_file=vocab.txt --output_file=out/P

writes out/P-00000-of-000NN and out/P.manifest.json.
"""

import time

from chemkd_tf import flags, startup
from chemkd_tf.config import PretrainingDataConfig

flags.define(PretrainingDataConfig)


def main(config: PretrainingDataConfig) -> None:
    """Imports TensorFlow only now, so that --help and a wrong flag answer at once."""
    startup.import_tensorflow_quietly()
    import tensorflow as tf

    from chemkd_tf.data.shards import write_pretraining_data

    tf.config.set_visible_devices([], "GPU")  # Text needs none; leave its memory to others.
    started = time.monotonic()
    manifest = write_pretraining_data(config)
    seconds = time.monotonic() - started
    print(
        f"{manifest.num_samples:,} samples of up to {manifest.max_seq_length} tokens in {len(manifest.shards)} files "
        f"{config.output_file}-*, {seconds:.1f} s ({manifest.num_samples / seconds:,.0f} samples/s)"
    )


if __name__ == "__main__":
    flags.run(main, PretrainingDataConfig)
