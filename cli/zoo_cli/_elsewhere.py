"""Words that people know from other programs: the verbs and options of this one that do the same, or none yet."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from zoo_cli._typed import MODELS, Line, is_model_name, kind_of, read

__all__ = ["FLAGS", "NEEDLESS", "OPTIONS", "WORDS", "Meant", "fill", "is_there", "meant_by"]


@dataclass(frozen=True, slots=True)
class Meant:
    """What is typed here instead.

    Attributes:
        words: how others call it, without marks between words.
        commands: what to type; none: no verb does it.
        remark: what must be said beside it.
    """

    words: tuple[str, ...]
    commands: tuple[str, ...]
    remark: str = ""


EVALUATE, PREDICT, EXPORT = "zoo evaluate", "zoo predict MODEL IMAGE…", "zoo export --onnx"
WORDS = (
    Meant(("fit", "learn", "finetune", "run", "start"), ("zoo train MODEL --data FOLDER",)),
    Meant(("continue", "resume"), ("zoo train MODEL --resume",)),
    Meant(("test", "eval", "val", "validate", "score", "judge", "metrics", "accuracy", "confusion"), (EVALUATE,)),
    Meant(("roc", "auc", "auroc", "calibrate", "calibration"), (EVALUATE,), "a run's folder holds its pictures"),
    Meant(("classify", "infer", "inference", "detect", "label", "apply", "tag"), (PREDICT,)),
    Meant(("convert", "save", "onnx", "torchscript", "package", "bundle", "build"), (EXPORT,)),
    Meant(("quantize", "quantise", "int8", "compress", "prune"), ("zoo export --onnx --int8",)),
    Meant(("benchmark", "profile", "speed", "latency", "time"), ("zoo bench MODEL",)),
    Meant(("listmodels", "models", "ls", "search", "zoo"), ("zoo list",)),
    Meant(("show", "card", "describe", "summary", "inspect"), ("zoo info MODEL",)),
    Meant(("datasets", "dataset", "sets"), ("zoo data list",)),
    Meant(("download", "pull", "get", "clone"), ("zoo data fetch NAME", "zoo weights fetch MODEL")),
    Meant(("audit", "lint", "clean", "dedup", "deduplicate", "duplicates"), ("zoo data check PATH",)),
    Meant(
        ("cv", "crossval", "crossvalidate", "crossvalidation", "kfold", "folds"),
        ("zoo train MODEL --folds 5",),
    ),
    Meant(("gradcam", "cam", "heatmap", "heatmaps", "saliency", "shap", "lime"), ("zoo explain MODEL IMAGE…",)),
    Meant(("ensemble", "stack", "blend"), ("zoo train ensemble:RUN,RUN",)),
    Meant(("best", "auto", "automl", "leaderboard", "select", "choose"), ("zoo pick --data FOLDER",)),
    Meant(("sweep", "optimize", "optimise", "hpo", "gridsearch", "autotune"), ("zoo tune MODEL --data FOLDER",)),
    Meant(("html", "plot", "page", "pdf"), ("zoo report",)),
    Meant(("drift", "surveil", "surveillance"), ("zoo monitor ANSWERS --against MODEL",)),
    Meant(("distill", "distil", "distillation"), ("zoo train MODEL --teacher RUN",)),
    Meant(("ui", "web", "app", "dashboard", "gui", "deploy", "host"), ("zoo serve MODEL", "zoo export --web DIR")),
    Meant(("push", "publish", "upload", "login"), ("zoo export --onnx --bundle",), "nothing is sent anywhere"),
    Meant(("history", "log", "logs", "ps", "experiments"), ("zoo runs",)),
    Meant(("rm", "delete", "del", "erase"), ("zoo runs remove RUN",)),
    Meant(("mv", "move"), ("zoo runs rename RUN NAME",)),
    Meant(("diff",), ("zoo runs compare A B",)),
    Meant(("status", "env", "check-env", "diagnose", "system"), ("zoo doctor",)),
    Meant(("init", "create", "quickstart", "tutorial", "example", "examples"), ("zoo demo",)),
    Meant(("commands", "usage", "man"), ("zoo help",)),
    Meant(("update", "upgrade"), (), "pip install --upgrade edgezoo brings a newer version"),
    Meant(("install", "add"), (), "pip install brings plugins; 'zoo plugin list' shows them"),
)
"""What a word in the place of a verb means."""

OPTIONS = {
    "size": ("imgsz", "img_size", "image_size", "input_size", "imagesize", "resolution"),
    "batch-size": ("batch", "bs", "batchsize", "b"),
    "lr": ("learning_rate", "learningrate", "lr0", "eta"),
    "epochs": ("epoch", "num_epochs", "n_epochs", "e", "max_epochs", "max_iter"),
    "seed": ("random_state", "random_seed"),
    "data": ("dataset", "data_dir", "datadir", "data_path", "source", "input", "images", "train_dir", "root"),
    "out": ("output", "o", "output_dir", "outdir", "save_dir", "project", "save", "dest"),
    "columns": ("label_column", "target"),
    "weights": ("checkpoint", "ckpt", "initial_checkpoint", "init"),
    "folds": ("k_fold", "kfold", "kfolds", "n_splits", "cv", "n_folds"),
    "val": ("val_split", "validation_split", "val_size", "valid"),
    "test": ("test_split", "test_size"),
    "top": ("topk", "top_k", "k"),
    "csv": ("save_txt", "results_file"),
    "threads": ("num_threads", "n_jobs"),
    "workers": ("num_workers", "j"),
    "loss": ("criterion", "loss_function", "loss_fn"),
    "metric": ("eval_metric", "monitor", "scorer", "scoring"),
    "class_weight": ("class_weights", "classweights", "weighted", "balanced", "pos_weight"),
    "weight_decay": ("wd", "decay"),
}
"""An option, or a setting of --set: how others call it."""


FLAGS = {
    ("gpu", "gpus", "cuda"): ("--device", "cuda"),
    ("cpu", "no_cuda"): ("--device", "cpu"),
    ("amp", "half", "bf16", "bfloat16", "mixed_precision"): ("--precision", "bf16"),
    ("fp32", "float32"): ("--precision", "fp32"),
    ("ordinal", "ordered", "grades"): ("--task", "ordinal"),
}
"""Options without a value: the option with its value that says the same."""

NEEDLESS = {
    ("num_classes", "n_classes", "nc", "classes"): "the classes are those of the data",
    ("shuffle",): "training images are shuffled, by --seed",
    ("scratch", "no_pretrained"): "networks start from scratch without --pretrained",
    ("verbose", "quiet", "q", "progress"): "progress goes to stderr, results to stdout",
    ("mode",): "the verb and the data say it",
}
"""Options that are not needed: why."""


def meant_by(word: str) -> Meant | None:
    """What a word in the place of a verb means; marks and case do not matter."""
    key = word.lower().replace("-", "").replace("_", "")
    return next((one for one in WORDS if key in one.words), None)


def is_there(line: Line, command: str) -> bool:
    """Whether a command begins with verbs of this application; within a group, of that group."""
    verb = command.split()[1]
    return verb in {*line.root.commands, "help"} and (not line.verbs or verb == line.verbs[0])


def fill(line: Line, command: str) -> str:
    """A command with what was typed behind a verb of another program, where its own verb takes that."""
    behind = line.rest[1:]
    meant = read(command.split()[1:], line.root)
    typed = read([*meant.verbs, *behind], line.root)
    if set(behind) <= {"--json"} or typed.is_group or typed.extra:
        return command
    words = typed.words()
    if words and not _fits(words[0], meant):
        return command
    flags = [at for at, word in enumerate(meant.rest) if word.startswith("-")] or [len(meant.rest)]
    places = meant.rest[len(words) : flags[0]]
    options = [meant.rest[at:end] for at, end in itertools.pairwise([*flags, len(meant.rest)])]
    added = [word for option in options for word in option if option[0] not in behind]
    front = len(words) if list(behind[: len(words)]) == words else len(behind)
    return meant.typed([*behind[:front], *places, *behind[front:], *added])


def _fits(word: str, meant: Line) -> bool:
    """Whether a word may take the place of the first word in capitals of a command."""
    if meant.verbs == ("export",):
        return kind_of(word) not in {"a bundle", "a model file"}  # exported already
    place = next(iter(meant.words()), "")
    if place == "NAME":
        return not is_model_name(word)
    return place not in {"MODEL", "A"} or kind_of(word) in {*MODELS, ""}
