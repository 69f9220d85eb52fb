"""Files and folders of object stores, brought here: against a real S3-compatible server and a plain web server."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler
from typing import TYPE_CHECKING

import buckets
import pytest

from zoo._urls import show_url
from zoo.errors import DataError, OutputError, ZooError
from zoo.store import _cachedir as cachedir
from zoo.store import _mirror, remote
from zoo.store._places import cache_folder
from zoo.store._urls import asking

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")


def _code(url: str, **more: object) -> str:
    with pytest.raises(ZooError) as caught:
        remote.fetch_tree(url, **more)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    return caught.value.code


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_prefix_comes_as_a_folder_of_its_name(bucket: buckets.Bucket) -> None:
    bucket.put("whole/a/1.bin", b"one")
    bucket.put("whole/a/b c/2.bin", b"two" * 1000)
    bucket.put("whole/", b"")  # as the console of S3 marks a folder
    folder = remote.fetch_tree(f"s3://{bucket.name}/whole")
    assert folder.name == "whole"
    assert _files(folder) == {"a/1.bin": b"one", "a/b c/2.bin": b"two" * 1000}
    assert remote.fetch_tree(f"s3://{bucket.name}/whole/a/1.bin").read_bytes() == b"one"


def test_a_second_call_brings_only_what_changed(bucket: buckets.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("stays", "changes", "goes"):
        bucket.put(f"again/{key}", key.encode())
    url = f"s3://{bucket.name}/again"
    folder = remote.fetch_tree(url)
    bucket.put("again/changes", b"another")
    bucket.client.delete_object(Bucket=bucket.name, Key="again/goes")
    fetched = []
    get = _mirror.get
    monkeypatch.setattr(_mirror, "get", lambda *args: fetched.append(args[3]) or get(*args))
    assert _files(remote.fetch_tree(url)) == {"stays": b"stays", "changes": b"another"}
    assert fetched == ["again/changes"]
    (folder / "stays").write_bytes(b"stale")  # of the same size; its time tells
    assert (remote.fetch_tree(url) / "stays").read_bytes() == b"stays"


def test_verify_finds_a_file_of_the_same_size_and_time(bucket: buckets.Bucket) -> None:
    bucket.put("rot/a", b"sound")
    url = f"s3://{bucket.name}/rot"
    path = remote.fetch_tree(url) / "a"
    before = path.stat()
    path.write_bytes(b"rotte")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (remote.fetch_tree(url) / "a").read_bytes() == b"rotte"  # size and time are all that is compared
    assert (remote.fetch_tree(url, verify=True) / "a").read_bytes() == b"sound"


def test_a_broken_transfer_continues_where_it_stopped(
    bucket: buckets.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mirror, "_PIECE", 100_000)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    content = os.urandom(2_000_000)
    bucket.put("cut/big", content)
    wire = buckets.Wire(bucket.address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.address)
    wire.left = 1_200_000
    url = f"s3://{bucket.name}/cut"
    assert _code(url) == "remote-unreachable"
    assert not [path for path in (tmp_path / "home").rglob("big") if path.is_file()]
    wire.left, wire.passed = None, 0
    assert (remote.fetch_tree(url) / "big").read_bytes() == content
    assert wire.passed < 1_500_000
    assert not list((tmp_path / "home").rglob("*.part"))
    wire.close()


@pytest.mark.parametrize("now", [b"longer than it was", b"short", b"other"])
def test_an_object_that_changes_under_way_is_refused(bucket: buckets.Bucket, tmp_path: Path, now: bytes) -> None:
    bucket.put("moving/a", b"first")
    url = f"s3://{bucket.name}/moving"
    listing = remote.list_tree(url)
    bucket.put("moving/a", now[: len(now)])
    if now == b"short":
        bucket.put("moving/a", b"1")
    assert _code(url, listing=listing) == "remote-changed"
    assert not [path for path in (tmp_path / "home").rglob("a") if path.is_file()]
    assert remote.fetch_tree(url).is_dir()


def test_other_bytes_than_the_store_promised_are_refused(bucket: buckets.Bucket) -> None:
    bucket.put("promise/a", b"first")
    url = f"s3://{bucket.name}/promise"
    listing = remote.list_tree(url)
    one = listing.objects["a"]
    fields = {name: getattr(one, name) for name in ("system", "path", "url", "scheme", "size", "mark")}
    listing.objects["a"] = _mirror.Remote(**fields, md5="0" * 32)
    assert _code(url, listing=listing) == "remote-changed"


def test_what_is_not_there_is_said(bucket: buckets.Bucket) -> None:
    assert _code("s3://no-such-bucket-here/images") == "remote-missing"
    assert _code(f"s3://{bucket.name}/no-such-prefix") == "remote-missing"
    assert _code("nosuch://bucket/images") == "remote-protocol"
    for protocol, package in (("gs", "gcsfs"), ("az", "adlfs")):
        if importlib.util.find_spec(package) is None:
            assert _code(f"{protocol}://bucket/images") == "package-missing"


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_disk_that_is_full_leaves_nothing_half_written(bucket: buckets.Bucket, tmp_path: Path) -> None:
    bucket.put("full/a", os.urandom(500_000))
    code = (
        "import resource, signal\n"
        "from zoo.errors import OutputError\nfrom zoo.store import remote\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"try: remote.fetch_tree('s3://{bucket.name}/full')\n"
        "except OutputError as problem: print(problem.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "output-unwritable"
    assert not [path for path in (tmp_path / "home").rglob("a") if path.is_file()]


def test_a_refused_access_and_a_network_that_is_down_are_two_errors(
    bucket: buckets.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{bucket.name}/whole"
    with buckets.serve_files(tmp_path, buckets.refuse_all) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert _code(url) == "remote-denied"
        assert _code(f"s3://{bucket.name}/e/n") == "remote-denied"  # letters of "Access Denied"
        assert _code(f"{address.replace('http://', 'http://me:secret@')}/a.npz?signature=secret") == "remote-denied"
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)  # where nobody listens any more
    assert _code(url) == "remote-unreachable"
    for name in ("404", "site-403", "credentials"):  # what a folder is called says nothing of the network
        assert _code(f"s3://{bucket.name}/{name}/a") == "remote-unreachable"
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert _code(url) == "remote-unreachable"


def test_without_a_network_what_is_here_is_taken(bucket: buckets.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("kept/a", b"here")
    url = f"s3://{bucket.name}/kept"
    remote.fetch_tree(url)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert (remote.fetch_tree(url) / "a").read_bytes() == b"here"


def test_without_a_network_a_fetch_that_was_not_finished_is_refused(
    bucket: buckets.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        bucket.put(f"half/{key}", key.encode())
    url, get = f"s3://{bucket.name}/half", _mirror.get

    def stop_at_b(one: _mirror.Remote, parts: Path, target: Path, name: str) -> tuple[int, str]:
        if name == "half/b":
            raise ZooError("stopped", code="remote-unreachable")
        return get(one, parts, target, name)

    for finished in (False, True):  # a whole copy is half again, once its renewal is stopped
        if finished:
            remote.fetch_tree(url)
            bucket.put("half/b", b"another")
        with monkeypatch.context() as patch:
            patch.setattr(_mirror, "get", stop_at_b)
            _code(url)
        with monkeypatch.context() as patch:
            patch.setenv("ZOO_OFFLINE", "1")
            with pytest.raises(ZooError, match="not finished") as caught:
                remote.fetch_tree(url)
            assert caught.value.code == "remote-unreachable"
    remote.fetch_tree(url)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert _files(remote.fetch_tree(url)) == {"a": b"a", "b": b"another"}


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/x", "a//b", "back\\slash", "new\nline", "x" * 300])
def test_no_key_leads_out_of_the_cache(key: str, tmp_path: Path) -> None:
    with pytest.raises(ZooError) as caught:
        _mirror.check_keys(["fine", key], "s3://bucket/x", tmp_path)
    assert caught.value.code == "remote-name"


def test_a_key_that_climbs_is_refused_before_anything_is_written(bucket: buckets.Bucket, tmp_path: Path) -> None:
    bucket.put("evil/..\\..\\out", b"x")
    assert _code(f"s3://{bucket.name}/evil") == "remote-name"
    assert not list((tmp_path / "home").rglob("out"))


def test_an_object_that_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError) as caught:
        _mirror.check_keys(["a/b/c", "a/b"], "s3://bucket/x", tmp_path)
    assert caught.value.code == "remote-name"


def test_more_than_the_cache_may_hold_is_refused(bucket: buckets.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("large/a", bytes(5000))
    monkeypatch.setenv("ZOO_CACHE_GB", "0.000001")
    assert _code(f"s3://{bucket.name}/large") == "remote-too-large"


def test_a_file_whose_size_nobody_says_counts_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(5000))
    with buckets.serve_files(tmp_path, _Unmeasured) as address:
        with monkeypatch.context() as small:
            small.setattr(_mirror, "limit", lambda: 4000)
            assert _code(f"{address}/a.bin") == "remote-too-large"
        remote.fetch_tree(f"{address}/a.bin")
    assert [one.size for one in cachedir.entries()] == [5000]


@pytest.mark.parametrize("measured", [True, False], ids=["a length", "no length"])
def test_a_file_of_which_a_server_tells_no_version_is_fetched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, measured: bool
) -> None:
    said = ["image,label\na.png,old\n"]

    class _Export(SimpleHTTPRequestHandler):
        """A table that a program writes when it is asked."""

        def do_GET(self) -> None:
            self.send_response(200)
            if measured:
                self.send_header("Content-Length", str(len(said[0])))
            self.end_headers()
            self.wfile.write(said[0].encode())

    with buckets.serve_files(tmp_path, _Export) as address:
        url = f"{address}/labels.csv"
        assert remote.fetch_tree(url).read_text() == said[0]
        assert not caplog.records
        said[0] = said[0].replace("old", "new")  # of the same size
        assert remote.fetch_tree(url).read_text() == said[0]
        assert [(one.levelname, url in one.getMessage()) for one in caplog.records] == [("WARNING", True)]


def test_the_beginning_of_a_file_without_a_version_is_not_continued(tmp_path: Path) -> None:
    """It may be the beginning of another one."""
    whole, cut = b"old" * 100_000, True

    class _Cut(SimpleHTTPRequestHandler):
        """Gives ranges of a file, and tells no time of it; breaks off in the middle while `cut`."""

        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(whole) - start))
            self.end_headers()
            self.wfile.write(whole[start:150_000] if cut else whole[start:])

    with buckets.serve_files(tmp_path, _Cut) as address:
        assert _code(f"{address}/a.bin") == "remote-unreachable"
        whole, cut = b"new" * 100_000, False
        assert remote.fetch_tree(f"{address}/a.bin").read_bytes() == whole


class _Unmeasured(SimpleHTTPRequestHandler):
    """Gives files without saying how long they are, until the connection ends."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":
            super().send_header(keyword, value)


def test_a_fetch_drops_nothing_that_fits_beside_it(bucket: buckets.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE_GB", "0.00002")
    bucket.put("beside/a", bytes(15_000))
    other = cache_folder("decoded") / "other"
    other.parent.mkdir(parents=True)
    other.write_bytes(bytes(4000))
    remote.fetch_tree(f"s3://{bucket.name}/beside")
    assert other.exists()
    bucket.put("beside/b", bytes(4000))
    remote.fetch_tree(f"s3://{bucket.name}/beside")
    assert not other.exists()


def test_a_mirror_in_use_stays_and_goes_with_the_process(
    bucket: buckets.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("swept/a", bytes(5000))
    url = f"s3://{bucket.name}/swept"
    code = f"from zoo.store import _cachedir, remote; remote.fetch_tree({url!r}); print(len(_cachedir.clear()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    (kept,) = cachedir.entries()
    assert (kept.kind, kept.size) == ("remote", 5000)
    assert json.loads((kept.path / "about.json").read_bytes())["url"] == url
    monkeypatch.setenv("ZOO_CACHE_GB", "0.000001")
    cachedir.sweep()
    assert not kept.path.exists()


def test_a_web_server_gives_a_file_and_a_listed_folder(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "set" / "a").mkdir(parents=True)
    (site / "set" / "a" / "1.bin").write_bytes(b"one")
    (site / "set" / "two words.bin").write_bytes(b"two")
    with buckets.serve_files(site) as address:
        assert remote.fetch_tree(f"{address}/set/a/1.bin?token=secret").read_bytes() == b"one"
        found = _files(remote.fetch_tree(f"{address}/set/"))
        assert found == {"a/1.bin": b"one", "two words.bin": b"two"}
        assert _code(f"{address}/nothing.bin") == "remote-missing"


def test_a_login_that_a_client_takes_for_a_bucket_is_not_said() -> None:
    with pytest.raises(DataError) as error, asking("s3://me:secret@bucket/x"):
        raise ValueError('Invalid bucket name "me:secret@bucket"')
    assert "secret" not in str(error.value)


def test_an_address_is_shown_without_secrets() -> None:
    assert show_url("https://me:secret@host/a.npz?X-Signature=secret") == "https://host/a.npz"
    assert show_url("s3://bucket/a b@2x/c.png") == "s3://bucket/a b@2x/c.png"
    assert show_url("s3://user:p@ss@host/a.png") == "s3://host/a.png"


def test_a_copy_that_cannot_be_removed_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "tree" / "gone").mkdir(parents=True)  # a folder where the manifest has a file
    _mirror._write_manifest(tmp_path, {"gone": _mirror.Copy("gone", 1, "", "", 0)})
    with pytest.raises(OutputError) as caught:
        _mirror.bring(tmp_path, {})
    assert caught.value.code == "output-unwritable"


def test_two_addresses_never_share_a_name() -> None:
    alike = ["s3://b/x.nii.gz", "gs://b/x.nii.gz", "https://b/x.nii.gz?id=1", "https://b/x.nii.gz?id=2", "s3://b/y.png"]
    names = remote.name_listed([*alike, *alike])
    assert list(names) == alike
    assert len(set(names.values())) == len(alike)
    assert names["s3://b/y.png"] == "b/y.png"
    assert all(name.startswith("b/x-") and name.endswith(".nii.gz") for name in list(names.values())[:4])
    assert remote.name_listed(["https://me:secret@b/x.png?secret"]) == {"https://me:secret@b/x.png?secret": "b/x.png"}
    with pytest.raises(ZooError) as caught:
        remote.name_listed(["s3://me:secret@b/x", "s3://b/x"])
    assert caught.value.code == "remote-name"
    assert "secret" not in str(caught.value)
