"""Runs a script that was written for TensorFlow 1, unchanged, under TensorFlow 2.

    python benchmarks/tf1_script.py SCRIPT [FLAGS]

The script's `import tensorflow as tf` gets `tensorflow.compat.v1`, which still has `tf.flags` and `tf.gfile`; modules
beside the script are found as they would be without this one.
"""

import os
import runpy
import sys


def main() -> None:
    """Takes the runner itself out of `sys.argv` and `sys.path`, then runs the script as `__main__`."""
    if len(sys.argv) < 2:
        sys.exit("error: name the script to run")
    del sys.argv[0]
    script = sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    import tensorflow.compat.v1 as tensorflow_1

    sys.modules["tensorflow"] = tensorflow_1
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
