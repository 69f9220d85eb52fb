"""A plugin-based zoo of image classifiers: train, compare, export to one verified ONNX file, run it anywhere.

```python
import zoo

zoo.models()                                         # what there is
result = zoo.train("resnet18", "images/", pretrained=True)
exported = zoo.export(result.run, bundle=True)
for answer in zoo.open(exported.path).predict(["a.jpg", "b.png"]):
    print(answer.row())
```

Importing this is light: torch, ONNX Runtime and numpy are loaded by the calls that need them.

Importing this also keeps ONNX Runtime from reporting home, see below.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import ModuleType

# ONNX Runtime's packages for Linux and macOS keep a device id in ~/.cache and send events about models and sessions to
# their maker unless this is set before it is first imported (microsoft/onnxruntime #27379). Nothing leaves a machine
# because of us; whoever wants it sets the variable to 0.
if "onnxruntime" in sys.modules and "ORT_DISABLE_TELEMETRY" not in os.environ:
    warnings.warn(
        "onnxruntime was imported before zoo, too late to keep it from reporting to its maker; "
        "import zoo first or set ORT_DISABLE_TELEMETRY=1",
        stacklevel=2,
    )
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from zoo.api import (
    ExportResult,
    TrainResult,
    bench,
    compare,
    evaluate,
    explain,
    export,
    info,
    models,
    open,  # noqa: A004 - zoo.open(path) reads as it should
    serve,
    sign,
    train,
    verify,
)
from zoo.errors import ZooError

__all__ = [
    "ExportResult",
    "TrainResult",
    "ZooError",
    "bench",
    "compare",
    "evaluate",
    "explain",
    "export",
    "info",
    "models",
    "open",
    "serve",
    "sign",
    "train",
    "verify",
]

__version__ = "0.1.0"


class _Face(ModuleType):
    """Keeps zoo.evaluate, zoo.compare and zoo.export the functions that users call.

    The packages behind them bear the same names, and importing a submodule binds it on its parent: the second
    call of `zoo.evaluate(...)` would meet a module. `from zoo.evaluate import report` is not affected.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
