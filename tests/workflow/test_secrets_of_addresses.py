"""User, password and signature of an address stand in no file, no log, no result and no error."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import buckets
import pictures
import pytest
from PIL import Image

import zoo
from zoo._urls import hide_secrets, restore_secrets, show_place
from zoo.errors import DataError, ImageError, ZooError
from zoo_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HIDDEN = "geheim"
SIGNED = f"?X-Amz-Date=1&X-Amz-Signature={HIDDEN}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder of a web server, and its address with a login."""
    for package in ("aiohttp", "fsspec"):
        pytest.importorskip(package)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    (tmp_path / "site").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with buckets.serve_files(tmp_path / "site") as address:
        yield tmp_path / "site", address.replace("http://", f"http://me:{HIDDEN}@")


def leaks(*folders: Path) -> list[str]:
    """Files that hold the secret."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if HIDDEN.encode() in path.read_bytes()]


def test_no_verb_writes_or_says_what_opens_its_data(
    site: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, address = site
    pictures.striped(folder / "set.npz", train=48, others=24)
    pictures.striped(folder / "other.npz", train=50, others=30)
    url, other = (f"{address}/{name}.npz{SIGNED}" for name in ("set", "other"))
    model, said, run = "logistic_regression", list[str](), tmp_path / "here" / "run"
    caplog.set_level(logging.DEBUG, "zoo")
    verbs: list[Callable[[], object]] = [
        lambda: zoo.train(model, url, out=run),
        lambda: zoo.train_folds(model, url, folds=3, out="folds"),
        lambda: zoo.evaluate(run, other),
        lambda: zoo.export(run, data=other),
        lambda: zoo.recalibrate(run, url, out="again.onnx"),
        lambda: zoo.split(url, "split.csv", again=True),
        lambda: zoo.shard(url, "shards", images=40),
        lambda: zoo.evaluate(run, url, unlike=[other]),
        lambda: zoo.train(model, f"{address}/gone.npz{SIGNED}", out="gone"),
    ]
    codes = []
    for verb in verbs:
        try:
            said.append(repr(verb()))
        except ZooError as problem:
            codes.append(problem.code)
            said += [str(problem), repr(problem.document())]
    assert codes == ["data-changed", "recalibrate-own", "image-unopened", "remote-missing"]
    assert not [line for line in [*said, *caplog.messages] if HIDDEN in line]
    assert not leaks(tmp_path / "here", tmp_path / "home")


@pytest.mark.parametrize(
    "words",
    [
        ("trian", "svm", "--data"),
        ("train", "svm"),
        ("predict", "no.onnx"),
        ("data", "check"),
        ("pick", "--models", "svm"),
    ],
)
def test_no_word_of_the_command_line_repeats_what_opens_an_address(
    site: tuple[Path, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    folder, address = site
    pictures.striped(folder / "set.npz", train=48, others=24)
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), contextlib.suppress(SystemExit):
        main([*words, f"{address}/set.npz{SIGNED}"])
    assert "set.npz" in stdout.getvalue() + stderr.getvalue() or words[0] == "predict"
    assert HIDDEN not in stdout.getvalue() + stderr.getvalue()
    assert not leaks(tmp_path / "here", tmp_path / "home")


def test_a_batch_writes_no_secret_and_resumes_with_a_renewed_one(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = site
    pictures.striped(folder / "set.npz", train=48, others=24)
    run = zoo.train("logistic_regression", f"{address}/set.npz", out="run").run
    for number in range(4):
        Image.new("L", (12, 12), 60 * number).save(folder / f"{number}.png")
    (folder / "names.csv").write_text("\n".join(["image", "0.png", "1.png"]), encoding="utf-8")
    out = tmp_path / "here" / "answers"
    sources = (f"{address}/names.csv", f"{address}/2.png{SIGNED}", f"{address}/3.png")
    done = zoo.predict_batch(run, sources, out, format="csv", part_size=2)
    assert (done.images, done.failed) == (4, 0)
    assert not leaks(out)
    next(out.glob("part-000001-*")).unlink()
    (out / "manifest.json").unlink()
    renewed = [source.replace(HIDDEN, f"neu-{HIDDEN}") for source in sources]
    seen = list[str]()

    def listen(self: object, *_: object) -> None:
        seen.append(self.path)  # type: ignore[attr-defined]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets.SimpleHTTPRequestHandler, "log_request", listen)
        done = zoo.predict_batch(run, renewed, out, format="csv", resume=True)
    assert (done.answered, done.finished) == (2, True)
    assert any(f"neu-{HIDDEN}" in path for path in seen), "what opens it is that of this call"
    assert not leaks(out)


def test_secrets_are_hidden_in_sentences_and_nothing_else_is() -> None:
    said = hide_secrets(
        f"see 's3://u:{HIDDEN}@b/a.png?id=1&sig={HIDDEN}': gone, (https://h/x?token={HIDDEN}), C:/me@x/y."
    )
    assert said == "see 's3://b/a.png?id=1': gone, (https://h/x), C:/me@x/y."
    assert hide_secrets(f"fetch https://h/x?download=1&of={HIDDEN}-{HIDDEN}.") == "fetch https://h/x?download=1."
    assert hide_secrets({"at": Path(f"here/http:/me:ge'{HIDDEN}@h/a"), "all": [(f"s3://k:{HIDDEN}@b/x",)]}) == {
        "at": "here/http:/h/a",
        "all": [("s3://b/x",)],
    }
    assert hide_secrets([f"here/http:/me:{HIDDEN}@h/a.png?X-Amz-Signature={HIDDEN}", 3]) == ["here/http:/h/a.png", 3]
    problem = DataError(f"https://me:{HIDDEN}@h/a: no", code="x", url=f"https://h/a?sig={HIDDEN}", tries=3)
    assert HIDDEN not in repr((str(problem), problem.document()))
    assert problem.fields["tries"] == 3
    assert HIDDEN not in repr(ImageError(f"https://h/a?sig={HIDDEN}", "no").document())


@pytest.mark.parametrize(
    "query",
    [
        *("code={}", "sas={}", "hdnts=exp~hmac={}", "passphrase={}", "AUTHTOKEN={}", "userpassword={}", "a=1;token={}"),
        *("next=https://k/b?token={}", "next=https%3A%2F%2Fk%2Fb%3Ftoken%3D{}", "X-Goog-Signature={}&Expires=1"),
    ],
)
def test_the_name_of_an_image_keeps_what_tells_it_apart_and_no_secret(query: str) -> None:
    shown = show_place(f"https://h/a.png?id=1&author=x&{query.format(HIDDEN)}")
    assert shown.removesuffix("&a=1") == "https://h/a.png?id=1&author=x"


def test_a_client_that_names_a_path_alone_tells_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    pytest.importorskip("aiohttp")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(DataError) as refusal:
            zoo.train("svm", f"http://127.0.0.1:{closed.getsockname()[1]}/set.npz{SIGNED}", out=tmp_path / "run")
    assert refusal.value.code == "remote-unreachable", "a signature in its words is no refusal of access"
    assert HIDDEN not in repr((str(refusal.value), refusal.value.document()))


def test_secrets_are_given_back_to_what_lies_below_their_address() -> None:
    given = f"https://me:{HIDDEN}@h/set/a.tar?sig={HIDDEN}"
    assert restore_secrets(show_place(given), given) == given
    assert restore_secrets("https://h/set/b.png", given) == f"https://me:{HIDDEN}@h/set/b.png"
    for elsewhere in ("https://other/b.png", "images/b.png"):
        assert restore_secrets(elsewhere, given) == elsewhere
    assert restore_secrets("https://h/a.png", "https://h/set") == "https://h/a.png"
