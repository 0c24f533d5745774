"""Text to TFRecords for run_pretraining.py and run_distill.py (paper section 3.1).

    python data_prep/create_pretraining_data.py --input_file='corpus/*.txt' --vocab_file=vocab.txt --output_file=out/P

writes out/P-00000-of-000NN and, last, out/P.manifest.json. Killed, it goes on when the same command is given again.
On a cluster (docs/data.md says more):

    python data_prep/create_pretraining_data.py --input_file=... --runner=FlinkRunner -- --flink_master=host:8081

Input is UTF-8, one sentence a line, an empty line between articles. Invalid UTF-8, a line of more than 1 MiB, a
compressed file, a folder, a corpus without text: refused with file and line, nothing is written. NUL and other control
characters and a byte-order mark vanish, CRLF is LF, as in google-research/bert; a line of which nothing is left makes
no sample and is counted. A full disk: make room and give the same command again.
"""

import time
from collections.abc import Sequence

from chemkd_tf import flags
from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.estimate import estimate
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.data.verification import verify_records
from chemkd_tf.errors import InputError

flags.define(PretrainingDataConfig)


def main(config: PretrainingDataConfig, runner_arguments: Sequence[str] = ()) -> None:
    """Writes the records and says what was written; or verifies earlier ones, or estimates."""
    if runner_arguments and not config.runner:
        raise InputError(
            f"unexpected argument {runner_arguments[0]!r}: flags are written --name=value, and only options of a "
            "--runner stand behind --"
        )
    if config.verify:
        files, size = verify_records(config.output_file)
        print(f"{files} files, {size:,} bytes: all as their manifest says")
        return
    if config.dry_run:
        print(f"{estimate(config)}\nnothing was written")
        return
    started = time.monotonic()
    if config.runner:
        from chemkd_tf.data.beam_shards import write_on_beam  # Beam, which only this way of running needs.

        manifest = write_on_beam(config, runner_arguments)
    else:
        manifest = write_pretraining_data(config)
    seconds = time.monotonic() - started
    print(
        f"{manifest.num_samples:,} samples of up to {manifest.format.max_seq_length} tokens in {len(manifest.shards)} "
        f"files {config.output_file}-*, {seconds:.1f} s ({manifest.num_samples / seconds:,.0f} samples/s)"
    )


if __name__ == "__main__":
    flags.run(
        main, PretrainingDataConfig, passes_arguments_on=True, if_interrupted="give the same command again, it goes on"
    )
