"""The verbs of a device: each parses nothing, calls one function and prints what it found.

`python -m zoo.edge` and `zoo` run these same functions; see `zoo.edge._options` for how a signature becomes a parser.
A verb returns its exit status.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from zoo._support.text import printable
from zoo.edge._decision_words import count_decisions
from zoo.edge._options import (
    AllowFallback,
    Argument,
    Find,
    Frame,
    Images,
    Json,
    Key,
    Model,
    Option,
    Overwrite,
    ProveFormat,
    Provider,
    Table,
    Threads,
    take_sources,
)
from zoo.edge._print import (
    document,
    fields,
    format_count,
    put,
    quote_path,
    say,
    show_path,
    whole_list,
)
from zoo.edge._tables import describe_answer, describe_model, describe_proof, tabulate_operators, tabulate_times
from zoo.errors import GateError, UsageError
from zoo.spec import MODEL_JSON, to_builtins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.edge._document import Listed
    from zoo.edge._results import Result
    from zoo.edge.clinical._files import Documents
    from zoo.readers._walk import PassedOver

__all__ = ["bench", "info", "predict", "sign", "verify"]

ALIKE = 10
"""Images without an answer for one reason that are named on stderr; a whole folder of the wrong kind is one mistake."""
DIFFERENT = 1000
"""Reasons that are counted; of a million bad images each may have its own."""


def predict(
    model: Model,
    images: Images,
    *,
    csv: Annotated[Path | None, Option("--csv", "Write every probability here.", "F")] = None,
    features: Annotated[
        Path | None, Option("--features", "Write what the last layer saw of each image here (.npz).", "F")
    ] = None,
    statistics: Annotated[
        bool, Option("--statistics", "Also brightness, contrast and colour of each image, for 'zoo monitor'.")
    ] = False,
    resume: Annotated[bool, Option("--resume", "Continue the unfinished table, if it is there.")] = False,
    sr: Annotated[
        Path | None, Option("--sr", "Write a DICOM structured report of each DICOM image into this folder.", "OUT")
    ] = None,
    fhir: Annotated[Path | None, Option("--fhir", "Write a FHIR R4 DiagnosticReport here (.json).", "F")] = None,
    subject: Annotated[
        str | None, Option("--subject", "Whom the FHIR report is about, such as Patient/123.", "REF")
    ] = None,
    overwrite: Overwrite = False,
    top: Annotated[int | None, Option("--top", "Show the K likeliest, too.", "K", least=1)] = None,
    frame: Frame = None,
    table: Table = None,
    batch_size: Annotated[int | None, Option("--batch-size", "Most images in one run.", "N", least=1)] = None,
    workers: Annotated[int, Option("--workers", "Processes that decode; 0: threads do.", "N", least=0)] = 0,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    key: Key = None,
    as_json: Json = False,
    find: Find = Path,
) -> int:
    """Label images with an exported model.

    One that cannot be read is reported, never replaced; the exit status is then 1. A model that takes columns beside
    the image needs --table, or a table in the place of the images.
    """
    from zoo.edge._answers import predict_csv
    from zoo.edge._beside import find_columns
    from zoo.edge._document import Listed
    from zoo.edge._features import check_features, write_features
    from zoo.edge._results import Failure
    from zoo.edge._runtime import Runtime
    from zoo.edge._written import check_written

    check_written(images, csv, features, sr, fhir, resume=resume, overwrite=overwrite)
    documents = _open_documents(sr=sr, fhir=fhir, subject=subject, frame=frame, overwrite=overwrite)
    runtime = Runtime.open(find(model), provider=provider, threads=threads, key=key, allow_fallback=allow_fallback)
    ask: Any = (
        runtime.predict
        if csv is None
        else partial(predict_csv, runtime, target=csv, resume=resume, overwrite=overwrite)
    )
    if features is not None:
        check_features(runtime, features, overwrite=overwrite)
    passed: list[tuple[str, PassedOver]] = []
    images, columns = find_columns(runtime.manifest, images, table)
    results: Iterator[Result] = ask(
        take_sources(images),
        features=features is not None,
        statistics=statistics,
        batch_size=batch_size,
        frame=frame,
        workers=workers,
        passed=passed,
        columns=columns,
    )
    results = write_features(results, runtime, features)
    if documents is not None:
        results = documents.pass_on(results, runtime)
    with Listed() if as_json else contextlib.nullcontext() as rows:
        reasons: Counter[str] = Counter()
        decided: Counter[str | None] = Counter()
        answered = failed = 0
        for result in results:
            if isinstance(result, Failure):
                failed += 1
                if result.error in reasons or len(reasons) < DIFFERENT:
                    reasons[result.error] += 1
                if reasons[result.error] <= ALIKE:
                    say(f"{printable(result.image)}: {result.error}")
            else:
                answered += 1
                decided[result.decision] += 1
                if not as_json and csv is None:
                    words = describe_answer(result, top, runtime.manifest.abstention)
                    put("\t".join((printable(result.image), *words)))
            if rows is not None:
                rows.add(result.row(top))
        _say_alike(reasons, "" if as_json or csv is not None else "; --csv lists each")
        refused = _say_refused(documents)
        if rows is not None:
            _list_passed(rows, passed)
            whole_list(rows)
    doubt = runtime.manifest.doubt
    lines = {
        f"{show_path(model)}: {doubt}": doubt is not None,
        f"{format_count(answered + failed, 'row')} in {csv}": csv is not None,
        f"{format_count(answered, 'row')} of {runtime.feature_count} features in {features}": features is not None,
        count_decisions(decided): answered > 1,
        f"{failed} of {format_count(answered + failed, 'image')} got no answer": failed,
        f"{refused} of {format_count(answered, 'answer')} got no DICOM report": refused,
    }
    for line, holds in lines.items():
        if holds and line:
            say(line)
    return 1 if failed or refused else 0


def bench(
    models: Annotated[
        list[Path], Argument("MODEL", "Files and bundles, side by side.", "Files, bundles and runs, side by side.")
    ],
    *,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    runs: Annotated[int, Option("--runs", "Timed answers of each.", "N", least=1)] = 100,
    image_size: Annotated[
        tuple[int, int] | None,
        Option("--image-size", "Of the raw image; default: the size that the network works at.", "H W", least=1),
    ] = None,
    batch_size: Annotated[int, Option("--batch-size", "Images in one answer.", "N", least=1)] = 1,
    operators: Annotated[bool, Option("--operators", "Also show where the time goes.")] = False,
    budget: Annotated[str | None, Option("--budget", "Exit 3 unless kept: latency_ms=10,size_mb=20.", "K=V,…")] = None,
    as_json: Json = False,
    find: Find = Path,
) -> int:
    """Measure latency, memory, cold start, size.

    A budget names latency_ms (median), p95_ms, p99_ms, cold_start_ms, memory_mb, size_mb, images_per_second.
    """
    from zoo.edge._bench import side_by_side
    from zoo.edge._budget import misses, parse

    allowed = parse(budget) if budget is not None else {}
    found = side_by_side(
        [find(model) for model in models],
        provider=provider,
        threads=threads,
        runs=runs,
        image_size=image_size,
        batch_size=batch_size,
        operators=operators,
        allow_fallback=allow_fallback,
    )
    over = [misses(one, allowed) for one in found]
    if as_json:
        rows = [
            {"path": str(model), **to_builtins(one), **({"over_budget": to_builtins(wrong)} if allowed else {})}
            for model, one, wrong in zip(models, found, over, strict=True)
        ]
        document(rows[0] if len(rows) == 1 else rows)
    else:
        put(tabulate_times(models, found))
        for model, one in zip(models, found, strict=True):
            if one.operators is not None:
                put(tabulate_operators(model, one.operators))
    for model, wrong in zip(models, over, strict=True):
        if wrong:
            say(f"{show_path(model)} is over its budget: {'; '.join(map(str, wrong))}")
    return GateError.exit_code if any(over) else 0


def verify(
    bundle: Annotated[Path, Argument("BUNDLE", "NAME.zoo or NAME.zoo.zip.")],
    *,
    provider: Provider = "cpu",
    key: Annotated[Path | None, Option("--key", "Public key (.pub) that must have signed it.", "FILE")] = None,
    require_signature: Annotated[bool, Option("--require-signature", "Refuse a bundle without a signature.")] = False,
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    time_limit: Annotated[
        float | None, Option("--time-limit", "The proof is ended after it (default 600).", "SECONDS")
    ] = None,
    memory_limit: Annotated[
        int | None,
        Option("--memory-limit", "Memory it may take (default 4096, or 3/4 of the machine's).", "MB", least=1),
    ] = None,
    as_json: Json = False,
    prove_format: ProveFormat | None = None,
) -> int:
    """Prove a bundle on this machine.

    Checks the signature, compares every hash and replays the golden set, in a process of its own with limits on time
    and memory; exit status 3 if anything differs.
    """
    from zoo.edge._verify import verify as prove
    from zoo.edge.bundle import MANIFEST

    of_format = (bundle / MODEL_JSON).is_file() and not (bundle / MANIFEST).exists()
    if prove_format is not None and of_format:
        given: dict[str, object] = {"--key": key, "--require-signature": require_signature}
        given |= {"--provider": provider != "cpu", "--allow-fallback": allow_fallback}
        given |= {"--threads": threads, "--time-limit": time_limit, "--memory-limit": memory_limit}
        if idle := [option for option, value in given.items() if value]:
            raise UsageError(
                f"{', '.join(idle)}: of a bundle only, and {bundle} is a file for another runtime; leave it out",
                code="option-conflict",
                options=idle,
            )
        found = prove_format(bundle)
        if as_json:
            document(found)
        else:
            put(found.headline())
        return 0
    proof = prove(
        bundle,
        provider=provider,
        threads=threads,
        key=key,
        require_signature=require_signature,
        time_limit=time_limit,
        memory_limit=memory_limit,
        allow_fallback=allow_fallback,
    )
    if as_json:
        document(proof)
        return 0
    put(fields(describe_proof(proof, key)))
    return 0


def info(model: Model, *, as_json: Json = False, find: Find = Path) -> int:
    """Show what an exported model says of itself: its use, results with intervals, origin, signature."""
    from zoo.edge.bundle import open_model

    contents = open_model(find(model))
    if as_json:
        document(contents.manifest)
    else:
        put(fields(describe_model(contents)))
    return 0


def sign(
    bundle: Annotated[Path | None, Argument("BUNDLE", "NAME.zoo or NAME.zoo.zip.")] = None,
    *,
    key: Annotated[Path | None, Option("--key", "Private key to sign with.", "FILE")] = None,
    new_key: Annotated[Path | None, Option("--new-key", "Make a key: FILE (private) and FILE.pub.", "FILE")] = None,
    as_json: Json = False,
) -> int:
    """Sign a bundle with an Ed25519 key, or make one.

    Whoever has the public half checks it: 'zoo verify BUNDLE --key FILE.pub'. A signature that a bundle bears is
    replaced. The private key is locked by the passphrase in ZOO_KEY_PASSPHRASE, where that is set.
    """
    from zoo.edge.bundle._signing import sign as put_signature

    if new_key is not None and bundle is None and key is None:
        _make_key(new_key, as_json=as_json)
    elif new_key is None and bundle is not None and key is not None:
        done = put_signature(bundle, key)
        if as_json:
            document(done)
        else:
            following = f"zoo verify {quote_path(done.path)} --key {quote_path(f'{key}.pub')}"
            put(fields({"signed": f"{done.name}, {show_path(done.path)}", "by key": done.key, "next": following}))
    else:
        raise UsageError(
            "expected 'zoo sign --new-key FILE' to make a key, or 'zoo sign BUNDLE --key FILE' to sign",
            code="option-missing",
            options=["--new-key", "--key"],
        )
    return 0


def _open_documents(**asked: Any) -> Documents | None:
    """Reports for a hospital, checked before anything is answered; None: none are asked for."""
    if all(asked[name] is None for name in ("sr", "fhir", "subject")):
        return None
    from zoo.edge.clinical._files import Documents

    return Documents(**asked)


def _say_refused(documents: Documents | None) -> int:
    """Name answered images that have no DICOM report; how many they are."""
    refused = [] if documents is None else documents.refused
    for problem in refused[:ALIKE]:
        say(printable(str(problem)))
    return len(refused)


def _list_passed(rows: Listed, passed: list[tuple[str, PassedOver]]) -> None:
    """A row for each folder with pictures of formats that are not read, or files that cannot be; nobody's failure."""
    for folder, beside in passed:
        if beside.pictures or beside.unreadable:
            rows.add({"image": folder, "error": f"passed over: {beside}", "passed_over": beside.formats()})


def _say_alike(reasons: Counter[str], each: str) -> None:
    for reason, count in reasons.items():
        if count > ALIKE:
            say(f"{format_count(count - ALIKE, 'more image')}: {reason}{each}")


def _make_key(path: Path, *, as_json: bool) -> None:
    from zoo.edge.bundle._keys import PASSPHRASE, new_key

    fingerprint = new_key(path)
    if not os.environ.get(PASSPHRASE):
        say(f"{path} is not locked; whoever can read it can sign in your name. {PASSPHRASE} would give it a passphrase")
    if as_json:
        document({"key": fingerprint, "private": str(path), "public": f"{path}.pub"})
        return
    shown = show_path(path)
    put(
        fields(
            {
                "private key": f"{shown}, keep it to yourself",
                "public key": f"{shown}.pub, give it to those who verify",
                "fingerprint": fingerprint,
                "next": f"zoo sign BUNDLE --key {quote_path(path)}",
            }
        )
    )
