"""Settings of the DICOM receiver."""

from __future__ import annotations

from dataclasses import dataclass

from zoo._support.addresses import is_loopback
from zoo.errors import UsageError

__all__ = ["LONGEST_TITLE", "Settings"]

LONGEST_TITLE = 16
"""Characters of an AE title (PS3.5 section 6.2)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Who may send what.

    Attributes:
        host: address to listen on.
        port: 0: any free one.
        title: application entity (AE) title of this receiver; others are not answered.
        senders: AE titles that may send; empty: any, on this machine alone. A title does not prove who sends.
        most_bytes: bytes of one object at most.
        most_associations: associations at a time at most.
        seconds: time that a sender has for each part of its message (PDU), and may be silent.

    Raises:
        UsageError: a value is out of range, or other machines could send without restriction.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    title: str = "ZOO"
    senders: tuple[str, ...] = ()
    most_bytes: int = 512 * 2**20
    most_associations: int = 8
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for option, title in (("--aet", self.title), *(("--allow-aet", one) for one in self.senders)):
            if not (
                0 < len(title.strip()) <= LONGEST_TITLE
                and title.isascii()
                and title.isprintable()
                and "\\" not in title
            ):
                raise UsageError(
                    f"{option} is {title!r}, expected an AE title: 1 to {LONGEST_TITLE} plain characters",
                    code="option-value",
                    option=option,
                    value=title,
                )
        numbers = (("--max-object", self.most_bytes), ("--associations", self.most_associations))
        for option, value in (*numbers, ("--timeout", self.seconds)):
            if not 0 < value < float("inf"):
                raise UsageError(
                    f"{option} is {value}, expected more than 0", code="option-value", option=option, value=value
                )
        if not is_loopback(self.host) and not self.senders:
            raise UsageError(
                f"every machine that reaches {self.host} could send; name those that may with --allow-aet, or listen "
                "on 127.0.0.1",
                code="receive-unrestricted",
                host=self.host,
            )
