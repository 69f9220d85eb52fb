"""`zoo evaluate`: run the shipped file on raw images and judge its answers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import zoo
from zoo._support.text import format_count
from zoo.spec import EvalReport
from zoo_cli import options
from zoo_cli._failing import describe_failing, show_robustness
from zoo_cli.decisions import describe_decisions
from zoo_cli.output import (
    describe_seen,
    document,
    fields,
    format_table,
    format_table_as,
    number_notes,
    put,
    say_seen,
    show_path,
    title_of,
    verdict_table,
    with_interval,
)

if TYPE_CHECKING:
    from zoo import Recalibration
    from zoo_cli.output import Cell, TableFormat

__all__ = ["evaluate"]


def evaluate(
    target: options.Exported = None,
    *,
    data: options.Data = None,
    columns: options.Columns = None,
    split: options.Split = "test",
    provider: options.Provider = "cpu",
    skip_bad: options.SkipBad = False,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    include_seen: options.IncludeSeen = False,
    operating: options.Operating = None,
    prevalence: options.Prevalence = None,
    by: options.By = None,
    corruptions: Annotated[
        str | None,
        typer.Option(
            "--corruptions", metavar="KINDS", help="Judge corrupted copies instead: all, or kinds such as noise,blur."
        ),
    ] = None,
    severities: Annotated[
        str | None,
        typer.Option("--severities", metavar="1,3,5", help="With --corruptions: how strong; default: 1 to 5."),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", metavar="N", help="With --corruptions: how many images; default: 100.")
    ] = None,
    unlike: options.Unlike = None,
    recalibrate: Annotated[
        Path | None,
        typer.Option(
            "--recalibrate",
            metavar="OUT",
            help="Fit temperature and decisions to a part of --data, write them as the new file OUT (.onnx, .zoo), and "
            "judge both files on the rest.",
        ),
    ] = None,
    suspects: Annotated[
        int | None,
        typer.Option(
            "--suspects",
            metavar="N",
            min=1,
            help="In the place of the report: the N images whose labels are most likely wrong.",
        ),
    ] = None,
    key: options.Key = None,
    table: options.TableAs = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="With --table: a row for each class, not for each metric.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Judge an exported file on raw images that it has not seen.

    Images that the model was trained or validated on are left out and counted. Every number comes with its 95 %
    interval; one that cannot be computed comes with the reason. --operating chooses on the run's own validation
    images, never on those that are judged.
    """
    options.refuse_formats(table, per_class=per_class, as_json=as_json)
    asked: dict[str, Any] = {
        "split": split,
        "provider": provider,
        "skip_bad": skip_bad,
        "key": key,
        "include_seen": include_seen,
        **options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
    }
    if recalibrate is not None:
        options.refuse_idle(
            "with --recalibrate",
            split=split != "test",
            operating=operating,
            prevalence=prevalence,
            table=table,
            by=by,
            corruptions=corruptions,
            severities=severities,
            images=images,
            unlike=unlike,
            suspects=suspects,
        )
        _recalibrate(target, data, recalibrate, asked, as_json=as_json)
        return
    if suspects is not None:
        options.refuse_idle(
            "with --suspects",
            include_seen=include_seen,
            operating=operating,
            prevalence=prevalence,
            per_class=per_class,
            by=by,
            corruptions=corruptions,
            severities=severities,
            images=images,
            unlike=unlike,
        )
        _show_suspects(target, data, suspects, asked, table=table, as_json=as_json)
        return
    if corruptions is None:
        options.refuse_idle("without --corruptions", severities=severities, images=images)
    else:
        options.refuse_idle(
            "with --corruptions",
            by=by,
            per_class=per_class,
            operating=operating,
            prevalence=prevalence,
            unlike=unlike,
        )
        show_robustness(target, data, corruptions, severities, images, asked, table=table, as_json=as_json)
        return
    with contextlib.redirect_stdout(sys.stderr):
        report = zoo.evaluate(
            target,
            data,
            operating=operating or (),
            prevalence=prevalence or (),
            by=options.read_by(by),
            unlike=unlike or (),
            **asked,
        )
    if as_json or table is not None:
        say_seen(report.seen)
    if as_json:
        document(report)
    elif table is not None:
        put(format_table_as(table, *(_classes(report) if per_class else _metrics(report))))
    else:
        put("\n\n".join(_sections(report)))


def _recalibrate(target: str | None, data: str | None, out: Path, asked: dict[str, Any], *, as_json: bool) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        made = zoo.recalibrate(target, data, out, **{name: asked[name] for name in asked if name != "split"})
    if as_json:
        document(made)
    else:
        put("\n\n".join(_describe(made)))


def _describe(made: Recalibration) -> list[str]:
    """What a new file answers beside the old one."""
    rows = [
        (str(row["what"]), *(_number(row[side]) for side in ("before", "after"))) for row in made.tables()["changes"]
    ]
    part = "the validation split" if made.how == "validation" else "a half"
    about = {
        "new file": show_path(made.path),
        "fitted on": f"{format_count(made.fitted, 'image')}, {part} of {made.after.data.name}",
        "temperature": f"{made.temperature_before:.3f}, now {made.temperature:.3f}",
        "judged on": f"{format_count(made.after.n, 'other image')}",
        "change of NLL": with_interval(made.nll),
        "change of Brier": with_interval(made.brier),
    }
    about |= {f"note {at}": note for at, note in enumerate(made.notes, 1)}
    return [*describe_seen(made.after.seen), format_table(("", "before", "after"), rows), fields(about)]


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


def _show_suspects(
    target: str | None, data: str | None, most: int, asked: dict[str, Any], *, table: TableFormat | None, as_json: bool
) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        found = zoo.find_suspects(
            target, data, most=most, **{name: asked[name] for name in asked if name != "include_seen"}
        )
    rows = found.tables()["suspects"]
    if as_json:
        document(found)
    elif table is not None:
        put(format_table_as(table, rows.columns, [list(row.values()) for row in rows]))
    else:
        cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row.values()] for row in rows]
        shown = (
            [format_table([name.replace("_", " ") for name in rows.columns], cells, right=range(3, 7))] if rows else []
        )
        put("\n\n".join([*shown, found.headline(), *found.notes]))


def _metrics(report: EvalReport) -> tuple[list[str], list[list[Cell]]]:
    """The metrics over all classes for `--table`."""
    return ["metric", "value"], [[title_of(name), value] for name, value in report.metrics.items()]


def _classes(report: EvalReport) -> tuple[list[str], list[list[Cell]]]:
    """The metrics of each class for `--table`."""
    from zoo.evaluation import CLASS_METRICS

    names = [*_counted(report), *CLASS_METRICS]
    header = [_head(report), *_counted(report), *map(title_of, CLASS_METRICS)]
    return header, [[label, *map(values.get, names)] for label, values in report.per_class.items()]


def _head(report: EvalReport) -> str:
    return "class" if report.confusion is not None else "label"


def _counted(report: EvalReport) -> list[str]:
    return [name for name in ("n", "known") if name in next(iter(report.per_class.values()))]


def _sections(report: EvalReport) -> list[str]:
    sections = [*describe_seen(report.seen), verdict_table(report)]
    counted = _counted(report)
    # PPV and NPV hold for the share of each class among these images: a table of their own.
    for counts, shown in ((counted, ("sensitivity", "specificity", "auroc")), ([], ("ppv", "npv"))):
        rows = [
            (label, *(str(values[name]) for name in counts), *(with_interval(values.get(name)) for name in shown))
            for label, values in report.per_class.items()
        ]
        titles = (_head(report), *counts, *map(title_of, shown))
        sections.append(format_table(titles, rows, right=range(1, len(counts) + 1)))
    sections += describe_decisions(report)
    if report.calibration is not None:
        found = report.calibration
        sections.append(
            f"calibration: temperature {found.temperature:.2f}, Brier {with_interval(found.brier)}, "
            f"NLL {with_interval(found.nll)},\n"
            f"expected calibration error {found.ece:.3f} in {found.bins} bins, without an interval: few images raise it"
        )
        lines = [(label, one.slope, one.intercept) for label, one in found.per_class.items()]
        if any(slope or intercept for _, slope, intercept in lines):
            rows = [(label, *map(with_interval, line)) for label, *line in lines]
            sections.append(format_table((_head(report), "calibration slope", "calibration intercept"), rows))
    sections += describe_failing(report)
    sections += _unlike(report)
    if undefined := {f"  {name}": why for name, why in report.undefined.items() if "." in name}:  # of single classes
        sections.append("undefined:\n" + fields(undefined))
    about = {"model": report.model, "data": f"{report.data.name}, sha256 {report.data.sha256[:12]}…"}
    about |= number_notes(report.notes, report.seen)
    sections.append(fields(about))
    return sections


def _unlike(report: EvalReport) -> list[str]:
    found = report.novelty
    if found is None:
        return []
    said = f"called unlike training: {with_interval(found.flagged)} of {format_count(found.n, 'image')}"
    rows = [(one.name, str(one.n), with_interval(one.auroc), with_interval(one.flagged)) for one in found.unlike]
    return [said, *([format_table(("unlike", "n", "AUROC", "called so"), rows, right=(1,))] if rows else [])]
