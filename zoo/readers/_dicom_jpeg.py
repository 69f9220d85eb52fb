"""What a JPEG or JPEG-LS frame says of itself, held against the DICOM header before a decoder sees it.

Native decoders trust these numbers: one that reads lossless JPEG ends the process on a precision of 17.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers._dicom_lossless import CATEGORIES, LosslessScan
from zoo.readers._jpeg import DRI, EOI, SOS, walk

if TYPE_CHECKING:
    from zoo.readers._dicom_frame import CodedFrame

__all__ = ["JpegFrame", "check_jpeg"]

_BASELINE, _EXTENDED, _PROGRESSIVE, _LOSSLESS, _LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
_PROCESSES = {
    _BASELINE: "JPEG baseline",
    _EXTENDED: "JPEG extended",
    _PROGRESSIVE: "JPEG progressive",
    _LOSSLESS: "JPEG lossless",
    0xC5: "JPEG hierarchical",
    0xC6: "JPEG hierarchical",
    0xC7: "JPEG hierarchical lossless",
    0xC9: "JPEG with arithmetic coding",
    0xCA: "JPEG progressive with arithmetic coding",
    0xCB: "JPEG lossless with arithmetic coding",
    0xCD: "JPEG hierarchical with arithmetic coding",
    0xCE: "JPEG hierarchical with arithmetic coding",
    0xCF: "JPEG hierarchical lossless with arithmetic coding",
    _LS: "JPEG-LS",
}
"""Second byte of a start of frame (ITU-T T.81, table B.1; T.87, C.1.1): the process that it begins."""
_DCT = frozenset({_BASELINE, _EXTENDED, _PROGRESSIVE})
_OF_SYNTAX = {
    "1.2.840.10008.1.2.4.50": _DCT,  # libjpeg reads all three alike
    "1.2.840.10008.1.2.4.51": _DCT,
    "1.2.840.10008.1.2.4.57": frozenset({_LOSSLESS}),
    "1.2.840.10008.1.2.4.70": frozenset({_LOSSLESS}),
    "1.2.840.10008.1.2.4.80": frozenset({_LS}),
    "1.2.840.10008.1.2.4.81": frozenset({_LS}),
}
_DHT, _APP0, _APP14 = 0xC4, 0xE0, 0xEE
_RGB_IDENTITIES = frozenset({(82, 71, 66), (114, 103, 98)})
"""'RGB' and 'rgb', letter by letter."""


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """One coded frame, checked.

    Attributes:
        data: the stream up to its end marker; of a lossless one what does not bear on the pixels is gone, too.
        process: second byte of its start of frame.
        bits: of a sample.
        ycc: three components are YCbCr, see `_is_ycc`.
        converts: libjpeg takes three components for YCbCr, and makes RGB of them unless told not to.
        scans: of a lossless frame.
    """

    data: bytes
    process: int
    bits: int
    ycc: bool
    converts: bool
    scans: tuple[LosslessScan, ...]


@dataclass(frozen=True, slots=True)
class _Component:
    identity: int
    across: int
    down: int


def check_jpeg(frame: CodedFrame, syntax: str) -> JpegFrame:
    """Hold a frame of JPEG, lossless JPEG or JPEG-LS against the header.

    Args:
        frame: the frame; bytes behind its end marker are not looked at.
        syntax: UID of the transfer syntax.

    Raises:
        ImageError: the frame says something else than the header, makes no sense, or ends too early.
    """
    check, data = _Check(frame, syntax), frame.data
    if not data.startswith(b"\xff\xd8"):
        raise frame.damaged("does not begin as a JPEG does")
    reached = 2
    for piece in walk(data, 2):
        begin = piece.start - (2 if piece.marker == EOI else 4)
        check.keep(piece.marker, data[begin : piece.end], data[reached:begin])
        reached = piece.end
        if piece.marker in _PROCESSES:
            check.start_of_frame(piece.marker, data[piece.start : piece.end])
        elif piece.marker == SOS:
            check.scan(data[piece.start : piece.data], data[piece.data : piece.end])
        elif piece.marker == EOI:
            return check.finish(piece.end)
        else:
            check.segment(piece.marker, data[piece.start : piece.end])
    raise frame.truncated("ends before its end marker")


class _Check:
    """What the segments said so far; each is held against the header as it comes."""

    def __init__(self, frame: CodedFrame, syntax: str) -> None:
        self.frame, self.picture, self.syntax = frame, frame.picture, syntax
        self.process = self.bits = self.interval = 0
        self.components: list[_Component] = []
        self.codes: dict[int, tuple[int, ...]] = {}
        self.scanned: set[int] = set()
        self.scans: list[LosslessScan] = []
        self.kept = [b"\xff\xd8"]
        self.jfif = False
        self.adobe: int | None = None

    def keep(self, marker: int, piece: bytes, skipped: bytes) -> None:
        """Take up what a lossless frame is decoded from: gdcm ends the process on some of what else may be there."""
        if _LOSSLESS in _OF_SYNTAX[self.syntax]:
            if skipped.strip(b"\xff"):
                raise self.frame.damaged("has bytes between its segments")
            if marker in _PROCESSES or marker in (_DHT, DRI, SOS, EOI):
                self.kept.append(piece)

    def start_of_frame(self, process: int, body: bytes) -> None:
        """T.81, B.2.2: precision, lines, samples a line, then identifier, factors and table of each component."""
        picture = self.picture
        if self.components:
            raise self.frame.damaged("holds two frame headers")
        if process not in _OF_SYNTAX[self.syntax]:
            expected = " or ".join(_PROCESSES[one] for one in sorted(_OF_SYNTAX[self.syntax]))
            raise self.frame.differs(_PROCESSES[process], expected)
        if len(body) < 6 or len(body) != 6 + 3 * body[5]:
            raise self.frame.damaged("has a frame header of another length than it says")
        bits, rows, columns, count = struct.unpack(">BHHB", body[:6])
        self.frame.check_size(columns, rows)
        if count != picture.samples:
            raise self.frame.differs(f"{count} components", f"{picture.samples} for each pixel")
        if process in _DCT and bits == 12:
            raise ImageError(
                self.frame.name,
                "12-bit JPEG, read only by a decoder under the GPL; convert it to lossless JPEG",
                code="image-transfer-syntax",
                syntax="JPEG Extended",
                bits=bits,
            )
        if not max(2, picture.stored) <= bits <= min(16, picture.allocated):
            raise self.frame.differs(f"{bits} bits a sample", f"{picture.stored} stored in {picture.allocated}")
        self.process, self.bits = process, bits
        entries = [body[at : at + 3] for at in range(6, len(body), 3)]
        self.components = [_Component(one[0], one[1] >> 4, one[1] & 15) for one in entries]
        if len({one.identity for one in self.components}) != count:
            raise self.frame.damaged("gives two components one name")
        factors = [(one.across, one.down) for one in self.components]
        if any(not (1 <= across <= 4 and 1 <= down <= 4) for across, down in factors):
            raise self.frame.damaged("has a sampling factor outside 1 to 4")
        if process not in _DCT and set(factors) != {(1, 1)}:
            raise self.frame.damaged(f"is {_PROCESSES[process]} with a sampling factor other than 1")
        if process in _DCT and any(one[2] > 3 for one in entries):
            raise self.frame.damaged("names a quantization table that cannot be")

    def segment(self, marker: int, body: bytes) -> None:
        """Huffman tables, the restart interval, and who wrote the file."""
        if marker == _DHT and _LS not in _OF_SYNTAX[self.syntax]:
            self.huffman(body)
        elif marker == DRI:
            self.interval = int.from_bytes(body[:2], "big")
        elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            self.jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            self.adobe = body[11]

    def huffman(self, body: bytes) -> None:
        """T.81, B.2.4.2: class and number, how many codes of each of 16 lengths, and their symbols."""
        at = 0
        while at < len(body):
            kind, number, counts = body[at] >> 4, body[at] & 15, body[at + 1 : at + 17]
            total = sum(counts)
            if kind > 1 or number > 3 or len(counts) < 16 or total > 256 or at + 17 + total > len(body):
                raise self.frame.damaged("has a damaged Huffman table")
            symbols = body[at + 17 : at + 17 + total]
            if not _fits(counts) or (kind == 0 and max(symbols, default=0) >= CATEGORIES):
                raise self.frame.damaged("has a damaged Huffman table")
            if kind == 0:
                lengths = [length for length, count in enumerate(counts, 1) for _ in range(count)]
                of = dict(zip(symbols, lengths, strict=True))
                self.codes[number] = tuple(of.get(category, 0) for category in range(CATEGORIES))
            at += 17 + total

    def scan(self, body: bytes, data: bytes) -> None:
        """T.81, B.2.3: components with their tables, then first and last coefficient (or predictor), and the shift."""
        if not self.components:
            raise self.frame.damaged("has a scan before its frame header")
        count = body[0] if body else 0
        if not 1 <= count <= len(self.components) or len(body) != 4 + 2 * count:
            raise self.frame.damaged("has a damaged scan header")
        names, tables = body[1 : 1 + 2 * count : 2], body[2 : 2 + 2 * count : 2]
        known = [one.identity for one in self.components]
        if len(set(names)) != count or not set(names) <= set(known):
            raise self.frame.damaged("has a scan of a component that is not there")
        first, last, shift = body[1 + 2 * count :]
        if self.process == _LOSSLESS:
            if not (1 <= first <= 7 and last == 0 and shift < self.bits):  # T.81, table H.1
                raise self.frame.damaged("has a damaged scan header")
            if any(one >> 4 not in self.codes for one in tables):
                raise self.frame.damaged("names a Huffman table that is not there")
            if self.interval % self.picture.columns:
                raise self.frame.damaged("has a restart interval that is not a number of lines")
            self.scans.append(
                LosslessScan(
                    components=tuple(known.index(one) for one in names),
                    codes=tuple(self.codes[one >> 4] for one in tables),
                    predictor=first,
                    shift=shift,
                    interval=self.interval // self.picture.columns,
                    data=data,
                )
            )
        elif self.process == _LS:
            if last > 2 or shift:  # T.87, C.2.3
                raise self.frame.damaged("has a damaged scan header")
        elif any(one >> 4 > 3 or one & 15 > 3 for one in tables):
            raise self.frame.damaged("names a Huffman table that cannot be")
        self.scanned |= set(names)

    def finish(self, end: int) -> JpegFrame:
        if not self.components:
            raise self.frame.damaged("has no frame header")
        if len(self.scanned) != len(self.components):
            raise self.frame.damaged("lacks the scan of a component")
        identities = tuple(one.identity for one in self.components)
        return JpegFrame(
            data=b"".join(self.kept) if self.scans else self.frame.data[:end],
            process=self.process,
            bits=self.bits,
            ycc=len(identities) == 3 and self._is_ycc(identities),
            # libjpeg's own rule, jdapimin.c
            converts=self.jfif or (identities != (82, 71, 66) if self.adobe is None else self.adobe != 0),
            scans=tuple(self.scans),
        )

    def _is_ycc(self, identities: tuple[int, ...]) -> bool:
        """Whether the components are YCbCr: the stream is believed before the label of the file.

        JFIF says YCbCr; else Adobe's transform says RGB (0) or YCbCr; else components named R, G and B are RGB; else
        chroma of fewer samples is YCbCr; else PhotometricInterpretation decides.
        """
        if self.jfif or self.adobe is not None:
            return self.jfif or self.adobe != 0
        if identities in _RGB_IDENTITIES:
            return False
        subsampled = len({(one.across, one.down) for one in self.components}) > 1
        return subsampled or self.picture.photometric != "RGB"


def _fits(counts: bytes) -> bool:
    """Whether there is a prefix code with so many words of 1, 2, … 16 bits (Kraft's inequality)."""
    return sum(count << (16 - length) for length, count in enumerate(counts, 1)) <= 1 << 16
