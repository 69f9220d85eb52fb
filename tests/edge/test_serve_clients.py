"""Clients as they are: forms, base64 in JSON, and several images in one request, within the limits of one image."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import make_bundle
from serving import Answer, Server, png, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from zoo.edge.serve import _multipart
from zoo.edge.serve._images import decode_base64, unpack
from zoo.edge.serve._multipart import Unreadable

MOST = 4
CAP = 60_000
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
IMAGES = [png(colour) for colour in COLOURS.values()]
FORM = "multipart/form-data; boundary=XX"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = ("--images", str(MOST), "--max-body", str(CAP), "--max-pixels", "10000")
    with serving(make_bundle(tmp_path_factory.mktemp("clients") / "mean.zoo"), *limits) as running:
        yield running


@pytest.fixture(autouse=True)
def _says_nothing(server: Server) -> Iterator[None]:
    yield
    assert server.ask("POST", "/predict", IMAGES[0]).json["label"] == "red", "the next request got no answer"


def form(*files: bytes, name: str = "file", disposition: str = 'filename="patient.png"') -> bytes:
    """As browsers and curl send it."""
    head = f'Content-Disposition: form-data; name="{name}"; {disposition}\r\nContent-Type: image/png\r\n\r\n'
    parts = b"".join(b"--XX\r\n" + head.encode() + data + b"\r\n" for data in files)
    return parts + b"--XX--\r\n"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask_form(server: Server, body: bytes, path: str = "/predict") -> Answer:
    return server.ask("POST", path, body, Content_Type=FORM)


def ask_json(server: Server, document: Any, path: str = "/predict") -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return server.ask("POST", path, body, Content_Type="application/json; charset=utf-8")


@pytest.mark.parametrize("name", ["file", "image", "x", "", "scan[]", "\u00e4"])
def test_one_file_of_a_form_gets_the_row_that_it_gets_alone(server: Server, name: str) -> None:
    row = server.ask("POST", "/predict?top=2", IMAGES[2]).json
    answer = ask_form(server, form(IMAGES[2], name=name), "/predict?top=2")
    assert (answer.status, answer.json) == (200, row)
    assert "patient" not in answer.body.decode()


def test_base64_gets_the_row_that_the_file_gets_alone(server: Server) -> None:
    row = server.ask("POST", "/predict", IMAGES[1]).json
    broken = base64.encodebytes(IMAGES[1]).decode()
    for said in (text(IMAGES[1]), broken, f"data:image/png;base64,{text(IMAGES[1])}", f"DATA:;base64,{broken}"):
        answer = ask_json(server, {"image": said})
        assert (answer.status, answer.json) == (200, row)


@pytest.mark.parametrize("way", ["form", "json"])
def test_several_images_are_answered_in_order_and_a_bad_one_keeps_its_place(server: Server, way: str) -> None:
    sent = [IMAGES[0], b"no picture", IMAGES[2], IMAGES[1]]
    before = server.metric("zoo_refused_total")
    answer = ask_form(server, form(*sent)) if way == "form" else ask_json(server, {"images": [text(x) for x in sent]})
    assert answer.status == 200
    assert [row["image"] for row in answer.json] == [f"image {at}" for at in (1, 2, 3, 4)]
    assert [row.get("label") for row in answer.json] == ["red", None, "blue", "green"]
    assert answer.json[1].keys() == {"image", "error"}
    assert server.metric("zoo_refused_total") == before + 1


def test_what_is_no_base64_loses_no_other_image(server: Server) -> None:
    answer = ask_json(server, {"images": ["https://10.0.0.1/a.png", "data:image/png,raw", text(IMAGES[0])]})
    assert [row.get("label") for row in answer.json] == [None, None, "red"]
    assert b"10.0.0.1" not in answer.body
    assert ask_json(server, {"image": "http://10.0.0.1/a.png"}).status == 422


def test_a_list_of_one_stays_a_list(server: Server) -> None:
    """A program that sends as many images as it has must not meet another answer where it has one."""
    assert [row["label"] for row in ask_json(server, {"images": [text(IMAGES[0])]}).json] == ["red"]


def test_more_images_than_allowed_and_none_are_refused(server: Server) -> None:
    for count in (0, MOST + 1):
        body = b"--XX--\r\n" if count == 0 else form(*[IMAGES[0]] * count)
        for answer in (ask_form(server, body), ask_json(server, {"images": [text(IMAGES[0])] * count})):
            assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest"), count


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[",
        b"[" * 50_000,
        b"{}",
        b"[1]",
        b'{"image": 1}',
        b'{"image": "", "images": [""]}',
        b'{"image": "", "url": "http://10.0.0.1/"}',
    ],
    ids=range(9),
)
def test_other_json_is_refused_in_one_sentence_that_repeats_nothing(server: Server, body: bytes) -> None:
    answer = ask_json(server, body)
    assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest")
    assert b"10.0.0.1" not in answer.body


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM),
        (form(IMAGES[0])[:-8], FORM),
        (form(IMAGES[0])[:40], FORM),
        (IMAGES[0], FORM),
        (form(IMAGES[0]), "multipart/form-data"),
        (form(IMAGES[0]), "multipart/form-data; boundary=" + "x" * 300),
        (form(IMAGES[0], disposition="x=y"), FORM),
        (form(IMAGES[0], disposition='filename="' + "a" * 9000 + '"'), FORM),
        (form(IMAGES[0], disposition="filename=a" + "\r\nX: y" * 20), FORM),
        (form(IMAGES[0], disposition="filename=a\r\nCANARY\x01: y"), FORM),
    ],
    ids=["empty", "no end", "cut", "raw", "no boundary", "boundary", "a field", "long header", "headers", "character"],
)
def test_what_is_no_form_of_files_is_refused_and_not_repeated(server: Server, body: bytes, kind: str) -> None:
    answer = server.ask("POST", "/predict", body, Content_Type=kind)
    assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest")
    assert b"patient" not in answer.body


def test_each_fault_of_json_has_a_sentence_of_its_own(server: Server) -> None:
    sent = (b'{"image": ', b"\xff", b'{"pictures": []}', b'{"images": []}', b'{"images": ["", "", "", "", ""]}')
    said = [ask_json(server, one).json["error"]["message"] for one in sent]
    assert said[0] == said[1], "neither is JSON"
    assert len({*said}) == 4
    none, many = (one.partition("; ")[2] for one in said[3:])
    assert none != many, "of no image there are no others to send"


def test_a_form_that_a_parser_warns_of_leaves_nothing_in_the_log(tmp_path: Path) -> None:
    with serving(make_bundle(tmp_path / "mean.zoo")) as server:
        assert ask_form(server, form(IMAGES[0], disposition="filename=a\r\nCAN\x01RY: y")).status == 400
        assert server.leave() == (0, "", "")


def test_an_image_in_a_form_or_in_json_has_the_limits_of_one_alone(server: Server) -> None:
    wide = png(size=(101, 100))
    header = png(size=(8, 8))[8:33].replace((8).to_bytes(4, "big") * 2, (8100).to_bytes(4, "big") * 2)
    chunk = header[4:21]
    bomb = wide[:8] + header[:4] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + wide[33:]
    for image in (wide, bomb):
        for answer in (ask_form(server, form(image)), ask_json(server, {"image": text(image)})):
            assert (answer.status, answer.json["error"]["type"]) == (422, "ImageError")
            assert "10000" in answer.json["error"]["message"]
    for body in (form(bytes(CAP)), json.dumps({"image": text(bytes(CAP))}).encode()):
        kind = FORM if body.startswith(b"--XX") else "application/json"
        assert server.ask("POST", "/predict", body, Content_Type=kind).status == 413


def test_a_heat_map_takes_one_image_in_any_form(server: Server) -> None:
    alone = server.ask("POST", "/explain?label=blue", IMAGES[2]).json
    assert ask_form(server, form(IMAGES[2]), "/explain?label=blue").json == alone
    assert ask_json(server, {"image": text(IMAGES[2])}, "/explain?label=blue").json == alone
    assert ask_form(server, form(IMAGES[2], IMAGES[0]), "/explain").status == 400
    assert ask_json(server, {"image": "?"}, "/explain").status == 422


def test_curl_sends_files_as_its_users_type_it(server: Server, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not here")
    for name, image in zip(COLOURS, IMAGES, strict=True):
        (tmp_path / f"{name} scan.png").write_bytes(image)
    files = [f"file=@{tmp_path / name} scan.png" for name in COLOURS]
    url = f"{server.started['url']}predict"
    one = subprocess.run([curl, "-s", "-F", files[0], url], capture_output=True, check=True)
    assert json.loads(one.stdout)["label"] == "red"
    fields = [part for file in files for part in ("-F", file)]
    several = subprocess.run([curl, "-s", *fields, url], capture_output=True, check=True)
    assert [row["label"] for row in json.loads(several.stdout)] == list(COLOURS)


@pytest.mark.parametrize("filling", [b"\r\n--XX-", b"\r\n--XXa", b"\r\n--XX\r"])
def test_a_form_full_of_boundaries_never_reaches_the_parser(filling: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads them byte by byte: 20 MB kept a worker for 7 s."""
    monkeypatch.setattr(_multipart.MultipartParser, "write", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(Unreadable):
        unpack(form(filling * 1000), FORM, MOST)


def test_what_only_begins_like_a_boundary_is_part_of_the_image() -> None:
    data = b"\r\n--X\r\n-\r\r\n\n--XX" * 99
    assert unpack(form(data), FORM, MOST).files == [data]


@pytest.mark.parametrize("wrong", ["a", "====", "aGk", "aGk=x", "a-_b", "data:", "data:image/png;base64", "\u0660aaa"])
def test_base64_is_decoded_whole_or_refused(wrong: str) -> None:
    with pytest.raises(Unreadable):
        decode_base64(wrong)
