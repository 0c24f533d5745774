"""Scripts that stand in for run_distill.py and run_classifier.py: the same contract, in no time."""

SCRIPT = """
import hashlib, json, os, sys, time
import h5py, numpy as np

flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
output = flags["output_dir"]
os.makedirs(output, exist_ok=True)
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(f"{output} {os.getpid()}\\n")
for path in (flags.get("init_checkpoint"), flags.get("teacher_dir")):
    assert path is None or os.path.isdir(path), path
# Like a checkpoint: what an earlier attempt left.
print("goes on" if os.path.exists(output + "/checkpoints") else "begins")
os.makedirs(output + "/checkpoints", exist_ok=True)
time.sleep(float(flags.get("sleep", 0)))
if "fail" in flags:
    print("two lines of trouble", "error: no such luck", sep="\\n", file=sys.stderr)
    sys.exit(3)
with open(output + "/metrics.jsonl", "w") as file:
    for step in (5, 10):
        point = {"step": step, "split": "train", "seconds": 2.0, "tokens_per_second": 100.0}
        file.write(json.dumps(point) + "\\n")
    file.write(json.dumps({"step": 10, "split": "eval", "loss": 1}) + "\\n")
if "do_train" not in flags:
    open(output + "/model.weights.h5", "w").close()
    sys.exit()
with open(output + "/classifier.json", "w") as file:
    shape = {"kind": "student", "num_layers": 3, "hidden_dim": 200}
    json.dump({"architecture": shape, "labels": ["a"], "pooling": "max"}, file)
with h5py.File(output + "/classifier.weights.h5", "w") as file:
    file["layers/vars/0"] = np.zeros((3, 4))
    file["layers/vars/1"] = np.zeros(5)
rows = [line.rstrip("\\n").split("\\t") for line in open(flags["predict_file"], encoding="utf-8")]
labels = sorted({label for _, label in rows})
with open(output + "/partial", "w") as file:
    file.write("label\\tp\\n")
    for text, label in rows:
        chance = hashlib.sha256((text + flags["random_seed"] + flags.get("salt", "")).encode()).digest()[0] / 256
        right = chance < float(flags["share_right"])
        file.write((label if right else labels[(labels.index(label) + 1) % len(labels)]) + "\\t1\\n")
os.rename(output + "/partial", output + "/predictions.tsv")
"""


def write(folder) -> str:
    """Writes both scripts; returns their folder."""
    folder.mkdir()
    for name in ("run_distill.py", "run_classifier.py"):
        (folder / name).write_text(SCRIPT, encoding="utf-8")
    return str(folder)
