"""Of `zoo export --format`: which options exclude it, and what is printed of the folder that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.edge._tables import describe_golden
from zoo.errors import UsageError
from zoo_cli.output import document, fields, megabytes, put, quote_path, show_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    import zoo
    from zoo.spec import FormatName

__all__ = ["refuse_beside_format", "show_format"]


def refuse_beside_format(form: FormatName, options: Sequence[str]) -> None:
    """Refuse options of the ONNX file.

    Args:
        form: the format that is asked for.
        options: those that were given.

    Raises:
        UsageError: there are some.
    """
    if options:
        raise UsageError(
            f"{', '.join(options)}: of the ONNX file, and --format {form} writes another, in float32; leave it out",
            code="option-conflict",
            options=["--format", *options],
        )


def show_format(made: zoo.FormatResult, *, as_json: bool) -> None:
    """Print what was written and what was proven of it."""
    if as_json:
        document(made)
        return
    put(
        fields(
            {
                "file": f"{show_path(made.path)}, {megabytes(made.size_bytes)}: {made.file}",
                "proof" if made.parity else "no proof": made.statement,
                "client": made.client,
                "golden": "images of yours, unaltered, are in this folder; look before you pass it on"
                if made.golden == "own"
                else describe_golden(made.golden),
                **({"note": "; ".join(made.notes)} if made.notes else {}),
                "next": f"zoo verify {quote_path(made.path)}",
            }
        )
    )
