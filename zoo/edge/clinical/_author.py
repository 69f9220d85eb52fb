"""Which model an answer is of, and the sentence that every document of it must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo._support.text import printable
from zoo._support.versions import TOOL, tool_version

if TYPE_CHECKING:
    from zoo.edge._results import Prediction
    from zoo.edge._runtime import Runtime
    from zoo.spec import Manifest

__all__ = ["Author", "is_answer"]


@dataclass(frozen=True, slots=True)
class Author:
    """A model file, as the one that made a document.

    Attributes:
        manifest: what the file says of itself.
        sha256: hash of the ONNX file, hexadecimal; it is the version of the model.
    """

    manifest: Manifest
    sha256: str

    @classmethod
    def of(cls, runtime: Runtime) -> Author:
        """The model that a runtime has open."""
        return cls(runtime.manifest, runtime.sha256)

    @property
    def tool(self) -> str:
        """Name and version of the program that ran the file."""
        return f"{TOOL} {tool_version()}"

    def statement(self) -> str:
        """That a computer made it, which one, what for, and what nobody has shown of it."""
        use = " ".join(printable(self.manifest.intended_use).split())
        name = printable(self.manifest.name)
        return (
            f"Made by a computer and not checked by a person: image classifier {name}, sha256 {self.sha256}. "
            + ("" if self.manifest.doubt is None else f"Not proven: {self.manifest.doubt}. ")
            + f"Intended use: {use or 'not stated'}"
        )


def is_answer(prediction: Prediction) -> bool:
    """Whether `label` is the answer, and the model does not say that it does not know."""
    return prediction.decision in {None, "label"}
