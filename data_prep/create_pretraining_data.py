"""Text to masked TFRecords for run_pretraining.py and run_distill.py (paper section 3.1).

    python data_prep/create_pretraining_data.py --input_file='corpus/*.txt' --vocab_file=vocab.txt --output_file=out/P

writes out/P-00000-of-000NN and out/P.manifest.json.
"""

import time

from chemkd_tf import flags
from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.estimate import estimate
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.data.verification import verify_records

flags.define(PretrainingDataConfig)


def main(config: PretrainingDataConfig) -> None:
    """Writes the records and says what was written; or verifies earlier ones, or estimates."""
    if config.verify:
        files, size = verify_records(config.output_file)
        print(f"{files} files, {size:,} bytes: all as their manifest says")
        return
    if config.dry_run:
        print(f"{estimate(config)}\nnothing was written")
        return
    started = time.monotonic()
    manifest = write_pretraining_data(config)
    seconds = time.monotonic() - started
    print(
        f"{manifest.num_samples:,} samples of up to {manifest.format.max_seq_length} tokens in {len(manifest.shards)} "
        f"files {config.output_file}-*, {seconds:.1f} s ({manifest.num_samples / seconds:,.0f} samples/s)"
    )


if __name__ == "__main__":
    flags.run(main, PretrainingDataConfig)
