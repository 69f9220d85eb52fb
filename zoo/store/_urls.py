"""Addresses of object stores: what is one, how it is shown without secrets, and what its client's errors mean.

fsspec opens them: each protocol is a package of its own. What this module does not know: what lies there, and where it
is kept here.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from zoo._support.imports import needing
from zoo._support.text import join_lines
from zoo._urls import show_url, without_queries
from zoo.errors import DataError, UsageError, ZooError
from zoo.store._download import offline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "HTTP",
    "asking",
    "insist",
    "last_part",
    "open_store",
    "parent_url",
    "refuse_change",
]

T = TypeVar("T")
HTTP = frozenset({"http", "https"})
_DENIED = re.compile(
    r"\b(40[13]|Forbidden|Access ?Denied|Unauthorized|credentials?|InvalidAccessKeyId|Signature)", re.I
)
_AWAY = re.compile(
    r"connect|time.?d?.?out|unreachable|resol|reset|refused|broken pipe|closed|incomplete|payload|slow ?down|"
    r"unavailable|internal.?(server.?)?error|too many requests|\b(429|50[0234])\b",
    re.I,
)
"""In an error, that the network or the store may be back in a minute."""
_MISSING = re.compile(r"\b(404|NoSuchBucket|NoSuchKey|Not ?Found)\b", re.I)
_ADDRESS = re.compile(r"\w[\w+.-]*://[^\s\"'<>]*")
_CLIENTS = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
}  # fmt: skip
_PATIENT: dict[str, dict[str, Any]] = {
    "s3fs": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}}
}
"""A network that is down is found out within seconds, not after minutes of retries."""
_TRIES = 3
"""Times that a store is asked at least."""
_WAIT, _LONGEST = 0.5, 30.0
"""Seconds before the second try; each later wait is twice as long, up to the longest."""


def last_part(url: str) -> str:
    """The name that a file or folder at an address has: its last part."""
    split = urlsplit(show_url(url))
    return split.path.rstrip("/").rpartition("/")[2] or split.netloc or "data"


def parent_url(url: str) -> str:
    """The address of the folder that a file lies in."""
    return show_url(url).rstrip("/").rpartition("/")[0]


def open_store(url: str, *, shared: bool = False) -> tuple[Any, str, str]:
    """The fsspec file system of an address, the path of the address in it, and its protocol.

    Args:
        url: the address.
        shared: one client for all that is asked of a store, and one request for a file; for many small ones.

    Raises:
        UsageError: the protocol is not known, or its package is not installed.
        DataError: the network is switched off.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in {"memory", "file", "local"} and (why := offline()) is not None:
        raise DataError(
            f"{show_url(url)}: {why}, so no store is asked; unset it, or bring the files here",
            code="remote-unreachable",
            url=show_url(url),
        )
    with needing(f"{scheme}://", "s3"):
        import fsspec
    client = _CLIENTS.get(scheme)
    try:
        options = {**_PATIENT.get(client or "", {}), "use_listings_cache": False, "skip_instance_cache": not shared}
        if shared and client == "s3fs":
            options["max_concurrency"] = 1  # else a file's size is asked for first
        system, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as problem:
        if client == "s3fs" or (scheme in HTTP and isinstance(problem, ImportError)):
            with needing(f"{scheme}://", "s3"):
                raise _naming(problem, "s3fs" if client else "aiohttp") from None
        if client is None:
            known = "s3://, gs://, az://, https:// and what else fsspec opens"
            raise UsageError(
                f"{show_url(url)}: no protocol {scheme!r}; expected {known}", code="remote-protocol", protocol=scheme
            ) from None
        raise UsageError(
            f"{scheme}:// needs {client}, which is not installed: pip install {client}",
            code="package-missing",
            package=client,
            extra=None,
        ) from None
    return system, str(path), scheme


def _naming(problem: Exception, package: str) -> ImportError:
    return ModuleNotFoundError(str(problem), name=getattr(problem, "name", None) or package)


def refuse_change(url: str, name: str, what: str) -> DataError:
    """The error of an object that is not what the listing said."""
    return DataError(
        f"{show_url(url)}: {name} {what}; nothing of it was kept, start again when nobody writes there",
        code="remote-changed",
        url=show_url(url),
        object=name,
    )


@contextlib.contextmanager
def asking(url: str) -> Iterator[None]:
    """Errors of a store's client in this block become errors of ours, without credentials.

    Raises:
        DataError: there is nothing at this address, access is refused, or the store does not answer.
    """
    try:
        yield
    except (ZooError, MemoryError):
        raise
    except Exception as problem:
        raise _explain(problem, url) from None


def insist(
    ask: Callable[[], T],
    url: str,
    *,
    patience: float = 0.0,
    say: Callable[[ZooError], None] | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> T:
    """What `ask` gives; a store that does not answer is asked again, with waits that double: a network fails at times.

    Args:
        ask: asks the store; it may raise what the store's client raises.
        url: what is asked for, as errors name it.
        patience: seconds after which no further try begins, but for the second and the third. It holds where the
            client speaks of a connection, a time-out or a server that cannot answer now; other faults stay.
        say: is told of the first try that failed.
        wait: waits so many seconds; what it returns is true where nobody wants the answer any more.

    Raises:
        FileNotFoundError: there is nothing, where the client says so.
        DataError: as `asking`; the store did not answer to the end.
    """
    begun, tried, seconds = time.monotonic(), 0, _WAIT
    while True:
        tried += 1
        try:
            return ask()
        except (FileNotFoundError, MemoryError):
            raise
        except Exception as problem:
            known = problem if isinstance(problem, ZooError) else _explain(problem, url)
            left = patience - (time.monotonic() - begun) if _AWAY.search(_without_names(str(known), url)) else 0.0
            again = isinstance(known, DataError) and known.code == "remote-unreachable"
            if not again or (tried >= _TRIES and left <= 0):
                raise known from None
        if tried == 1 and say is not None:
            say(known)
        if wait(seconds if tried < _TRIES else min(seconds, left)):
            raise known
        seconds = min(2 * seconds, _LONGEST)


def _explain(problem: Exception, url: str) -> DataError:
    """Every store's client has its own errors, and none of them can be imported where it is not installed."""
    where, said = show_url(url), join_lines(without_queries(str(problem)), 200)
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    said = said.replace(login + at, "")  # S3 has no logins in addresses, so its client takes one for a bucket
    kind, told = type(problem).__name__, _without_names(said, url)
    if isinstance(problem, FileNotFoundError) or _MISSING.search(told):
        return DataError(
            f"{where}: no such object, folder or bucket; check the address", code="remote-missing", url=where
        )
    if isinstance(problem, PermissionError) or "Credentials" in kind or _DENIED.search(told):
        return DataError(
            f"{where}: access is refused ({kind}: {said}); set the credentials of the store in the environment",
            code="remote-denied",
            url=where,
        )
    return DataError(
        f"{where}: the store does not answer ({kind}: {said}); check the network, the same command continues",
        code="remote-unreachable",
        url=where,
        cause=kind,
    )


def _without_names(said: str, url: str) -> str:
    """A client's words without the address: a folder may be called 404, or credentials."""
    path = urlsplit(url).path.strip("/")
    said = _ADDRESS.sub("", said)
    return said.replace(path, "") if "/" in path else said  # a short name is a part of other words, too
