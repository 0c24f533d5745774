"""Files wherever Apache Beam reaches them: gs://, s3://, hdfs:// and this machine's disks."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from typing import BinaryIO

from chemkd_tf.config.options import require
from chemkd_tf.data.blocks import find_files
from chemkd_tf.errors import InputError

_disabled = logging.root.manager.disable
try:
    logging.disable(logging.WARNING)  # Beam tells at once which of the clouds' libraries are absent.
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems
except ImportError as error:
    raise InputError(f"--runner needs the library Apache Beam: pip install 'chemkd_tf[beam]' ({error})") from None
finally:
    logging.disable(_disabled)


def find_inputs(patterns: str) -> list[str]:
    """As `blocks.find_files`, of URLs too."""
    paths = []
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        if is_local(pattern):
            paths += map(absolute, find_files(pattern))
            continue
        with beams_complaints("--input_file"):
            matches = sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)
        require(bool(matches), f"--input_file: no file matches {pattern!r}: check the path (and quote a glob)")
        paths += matches
    return list(dict.fromkeys(paths))


@contextlib.contextmanager
def beams_complaints(flag: str) -> Iterator[None]:
    """What Beam says of an unknown runner, missing options or libraries, or a URL that it can't reach."""
    try:
        yield
    except (ValueError, OSError, ImportError, AttributeError, TypeError) as error:
        raise InputError(f"{flag}: {one_line(error)}") from None


def is_local(path: str) -> bool:
    """Whether `path` is no URL."""
    return FileSystems.get_scheme(path) is None


def absolute(path: str) -> str:
    """Workers may have another working directory."""
    return os.path.abspath(path) if is_local(path) else path


def beside(prefix: str, name: str) -> str:
    """Path of a file in the folder of `prefix`."""
    return os.path.join(os.path.dirname(prefix), os.path.basename(name))


def open_input(path: str) -> BinaryIO:
    """Opens a file for reading, as it is."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def create(path: str) -> BinaryIO:
    """Opens a new file for writing, as it is."""
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def replace(source: str, target: str) -> None:
    """Renames, also over a file that is there, which HDFS alone refuses."""
    try:
        FileSystems.rename([source], [target])
    except OSError:
        if not FileSystems.exists(source) or not FileSystems.exists(target):
            raise
        FileSystems.delete([target])
        FileSystems.rename([source], [target])


def remove_folder(path: str) -> None:
    """Removes a folder; where there are none, whatever has its name in front."""
    with contextlib.suppress(OSError):  # What is left over harms nobody.
        if FileSystems.exists(path):
            FileSystems.delete([path])
        else:
            FileSystems.delete([path + "/"])


def read_json(path: str) -> dict:
    """Reads a JSON object."""
    if not FileSystems.exists(path):  # Each file system has its own exception for this, and Google's is no OSError.
        raise FileNotFoundError(path)
    with open_input(path) as file:
        return json.loads(file.read().decode("utf-8"))


def one_line(error: object) -> str:
    """The message without its line breaks."""
    return " ".join(str(error).split())
