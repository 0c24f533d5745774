"""Whether record files are still what their manifest says."""

import json
import os

from chemkd_tf.data.manifest import file_sha256, manifest_path
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress


def verify_records(prefix: str) -> tuple[int, int]:
    """Compares every shard with the size and the SHA-256 in the manifest.

    Args:
        prefix: P, as given to --output_file.

    Returns:
        How many files and how many bytes they hold.

    Raises:
        InputError: if there is no manifest, or a file is missing or differs (names each of them).
    """
    path = manifest_path(prefix)
    try:
        with open(path, encoding="utf-8") as file:
            shards = [(shard["file"], shard["bytes"], shard["sha256"]) for shard in json.load(file)["shards"]]
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such manifest: --output_file is the prefix that the records were written to; if their run did "
            "not end, give its command again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: can't read sizes and checksums in it ({error!r}): make the records again") from None
    total = sum(size for _, size, _ in shards)
    progress = Progress("verifying", total, "bytes")
    done = 0
    wrong = []
    for name, size, sha256 in shards:
        shard = os.path.join(os.path.dirname(prefix), name)
        if not os.path.isfile(shard):
            wrong.append(f"{name} is missing")
        elif os.path.getsize(shard) != size:
            wrong.append(f"{name} has {os.path.getsize(shard):,} bytes instead of {size:,}")
        elif file_sha256(shard) != sha256:
            wrong.append(f"{name} has other content (SHA-256)")
        done += size
        progress.update(done)
    progress.close()
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} of {len(shards)} files differ: {'; '.join(wrong)}. Delete the manifest and make the "
            "records again"
        )
    return len(shards), total
