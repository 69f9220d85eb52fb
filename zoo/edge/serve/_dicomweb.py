"""DICOMweb (PS3.18): images are stored by STOW-RS and answered; their reports are retrieved by WADO-RS.

No image is kept. The report of each image belongs to the image's study, and a client retrieves that study as from any
archive. Reports are kept in memory, see `zoo.edge.serve._kept`; nothing is written to a disk.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from zoo.edge.clinical._author import Author
from zoo.edge.clinical._source import name_instance, read_source
from zoo.edge.clinical._sr import has_highdicom, write_report
from zoo.edge.serve._accept import DICOM, DICOM_JSON, RELATED, choose_form
from zoo.edge.serve._guard import RETRY, refusal
from zoo.edge.serve._kept import SECONDS, Kept
from zoo.edge.serve._queries import choose
from zoo.edge.serve._related import is_related, read_related, write_related
from zoo.edge.serve._work import JSON, name_blamed
from zoo.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from starlette.requests import Request

    from zoo.edge.clinical._source import DicomSource
    from zoo.edge.serve._models import Model, Models
    from zoo.edge.serve._settings import Settings
    from zoo.edge.serve._work import Sent, Work
    from zoo.spec import Manifest

__all__ = ["INSTANCE", "STUDIES", "STUDY", "DicomWeb", "explain_absence", "name_study"]

STUDIES = "/dicom-web/studies"
STUDY = f"{STUDIES}/{{study}}"
INSTANCE = f"{STUDY}/series/{{series}}/instances/{{instance}}"

_PATH = re.compile(rf"{STUDIES}/[0-9.]{{1,64}}(/series/[0-9.]{{1,64}}/instances/[0-9.]{{1,64}})?")

_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")

_NOT_UNDERSTOOD = 0xC000
_OTHER_STUDY = 0xA900
_FAILED = 0x0110
_REASONS = {
    "image-bomb": 0xA700, "image-decoder-killed": 0xA700, "image-memory": 0xA700, "image-size": 0xA700,
    "image-without-picture": 0x0122, "report-source-class": 0x0122,
    "image-coding": 0xC122, "image-transfer-syntax": 0xC122, "package-missing": 0xC122,
    "image-damaged": _NOT_UNDERSTOOD, "image-element": _NOT_UNDERSTOOD, "image-empty": _NOT_UNDERSTOOD,
    "image-format": _NOT_UNDERSTOOD, "image-header-differs": _NOT_UNDERSTOOD, "image-truncated": _NOT_UNDERSTOOD,
    "image-undecodable": _NOT_UNDERSTOOD, "report-source-format": _NOT_UNDERSTOOD,
    "report-source-uid": _NOT_UNDERSTOOD,
}  # fmt: skip
"""Code of an error to the Failure Reason (PS3.18 section 10.5.3, PS3.4 annex B.2.3); any other is a failed processing:
out of resources, SOP class not supported, transfer syntax not supported, not understood."""


def name_study(path: str) -> str | None:
    """A path below `STUDIES` as metrics and log call it, without any UID; None: there is nothing."""
    found = _PATH.fullmatch(path)
    return None if found is None else f"{STUDIES}/STUDY" + ("/series/SERIES/instances/INSTANCE" if found[1] else "")


def explain_absence(manifest: Manifest) -> str | None:
    """Why a server has no DICOMweb; None: it has."""
    if manifest.table is not None:
        return "this model takes columns beside the image, and DICOMweb has no place for them; use POST /predict"
    if not has_highdicom():
        return "DICOM reports need highdicom; install 'edgezoo[dicom-sr]' where the server runs"
    return None


@dataclass(slots=True)
class _Outcome:
    """What became of the instances of one request.

    Attributes:
        stored: those that have a report.
        failed: class and UID of those that have none, and the reason.
        other: the reason for each file that does not say what it is.
        passing: how many failed by what may be this machine's fault.
    """

    stored: list[DicomSource] = field(default_factory=list)
    failed: list[tuple[tuple[str, str], int]] = field(default_factory=list)
    other: list[int] = field(default_factory=list)
    passing: int = 0

    @property
    def status(self) -> int:
        """200: all are stored; 409: none is; 202: some are (PS3.18 table 10.5.3-1); 503: all may be stored later."""
        failed = len(self.failed) + len(self.other)
        return 200 if not failed else 202 if self.stored else 503 if self.passing == failed else 409

    def document(self, base: str) -> dict[str, Any]:
        """The Store Instances Response (PS3.18 annex I.2) in the DICOM JSON model; a sequence is there if not empty."""
        studies = {one.study for one in self.stored}
        url = [f"{base}{studies.pop()}"] if len(studies) == 1 else []
        found = {
            "00081190": _element("UR", url),
            "00081198": _element("SQ", [_item(*which, reason) for which, reason in self.failed]),
            "00081199": _element("SQ", [_item(one.sop_class, one.instance) for one in self.stored]),
            "0008119A": _element("SQ", [{"00081197": _element("US", [reason])} for reason in self.other]),
        }
        return {tag: element for tag, element in found.items() if tag == "00081190" or "Value" in element}


class DicomWeb:
    """The DICOMweb paths of one server.

    Args:
        work: what answers an image.
        models: what is served; the query says which one answers.
        settings: for the limit of images, and the names that a proxy serves.
        run: lets a worker do a job for a request, within all limits, and answers whatever comes of it.
    """

    def __init__(
        self,
        work: Work,
        models: Models,
        settings: Settings,
        run: Callable[[Request, Model, Callable[[Sent], Response]], Awaitable[Response]],
    ) -> None:
        self._work = work
        self._models = models
        self._most = settings.images
        self._names = frozenset(map(str.lower, settings.hosts))
        self._run = run
        self._kept = Kept()

    def routes(self) -> list[Route]:
        """For Starlette."""
        return [
            Route(STUDIES, self._store, methods=["POST"]),
            Route(STUDY, self._take_study, methods=["GET", "POST"]),
            Route(INSTANCE, self._retrieve),
        ]

    async def _take_study(self, request: Request) -> Response:
        return await (self._store if request.method == "POST" else self._retrieve)(request)

    async def _store(self, request: Request) -> Response:
        model = choose(self._models, request)
        if (why := explain_absence(model.runtime.manifest)) is not None:
            return refusal(404, why)
        if choose_form(request.headers.get("accept", ""), (DICOM_JSON, JSON)) is None:
            return refusal(406, f"the answer is {DICOM_JSON}; 'Accept' excludes it")
        if not is_related(request.headers.get("content-type", "")):
            return refusal(415, f"send {RELATED} with a boundary")
        answer = await self._run(request, model, partial(self._answer, study=request.path_params.get("study")))
        asyncio.get_running_loop().call_later(SECONDS + 1, self._kept.drop_old)
        return answer

    def _answer(self, sent: Sent, study: str | None) -> Response:
        files = read_related(sent.body, sent.header("content-type"), self._most)
        sent.count(len(files))
        outcome = _Outcome()
        for at, data in enumerate(files):
            if sent.gone.is_set():
                break
            self._answer_one(sent, data, f"image {at + 1}", study, outcome)
        content = msgspec.json.encode(outcome.document(f"{_find_base(sent, self._names)}{STUDIES}/"))
        again = RETRY if outcome.status == 503 else {}
        answer = sent.answer(content, DICOM_JSON, **again)
        answer.status_code = outcome.status
        return answer

    def _answer_one(self, sent: Sent, data: bytes, name: str, study: str | None, outcome: _Outcome) -> None:
        runtime = sent.model.runtime
        try:
            source = read_source(data, name)
            if study is not None and source.study != study:
                outcome.failed.append(((source.sop_class, source.instance), _OTHER_STUDY))
                return
            report = write_report(source, self._work.row(runtime, data, name), Author.of(runtime))
        except ImageError as problem:
            self._work.count_refused(problem)
            outcome.passing += name_blamed(problem) != "image"
            reason = _REASONS.get(problem.code, _FAILED)
            which = name_instance(data)
            if which is None:
                outcome.other.append(reason)
            else:
                outcome.failed.append((which, reason))
            return
        if not sent.gone.is_set():  # its request was answered without it: nobody asks for it, or forgets it
            self._kept.add(report)
        outcome.stored.append(source)

    async def _retrieve(self, request: Request) -> Response:
        found = self._kept.find(**request.path_params)
        if not found:
            return refusal(404, f"no report of it is here; one is kept for {SECONDS:.0f} s after its image was stored")
        form = choose_form(request.headers.get("accept", ""), (RELATED, DICOM) if len(found) == 1 else (RELATED,))
        if form is None:
            return refusal(406, f"the answer is {RELATED}, of one report also {DICOM}; 'Accept' excludes it")
        if form == DICOM:
            return Response(found[0], media_type=DICOM)
        body, kind = write_related(found)
        return Response(body, headers={"content-type": kind})


def _find_base(sent: Sent, names: Collection[str]) -> str:
    """Where the client reached this server; empty, so that addresses are relative, where this is not known.

    So it is behind a proxy, which serves one of `names`: its scheme is not told here.
    """
    host = sent.header("host")
    found = _HOST.fullmatch(host)
    if found is None or found[1].strip("[]").rstrip(".").lower() in names:
        return ""
    return f"{sent.request.scope['scheme']}://{host}"


def _element(vr: str, values: list[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _item(sop_class: str, instance: str, reason: int | None = None) -> dict[str, Any]:
    """A Referenced SOP item; the image itself is not kept, so it has no address."""
    found = {"00081150": _element("UI", [sop_class]), "00081155": _element("UI", [instance])}
    return found | ({"00081190": _element("UR", [])} if reason is None else {"00081197": _element("US", [reason])})
