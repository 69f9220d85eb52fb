"""What a JPEG 2000 or HTJ2K frame says of itself, held against the DICOM header before a decoder sees it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from zoo.readers._boxes import follow_tiles
from zoo.readers._dicom_frame import FILL

if TYPE_CHECKING:
    from zoo.readers._dicom_frame import CodedFrame

__all__ = ["check_jpeg2000"]

_BEGIN = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a codestream begins (ISO 15444-1, A.4.1 and A.5.1); boxes of a JP2 file may precede it."""
_BEGIN_MOST = 4096
_EOC = b"\xff\xd9"
_TILES_MOST = 65_535


def check_jpeg2000(frame: CodedFrame) -> None:
    """Hold a codestream against the header: size, tiles, components and bits; and all tiles must be there.

    Fewer bits than the header says are taken: the codestream says itself whether they are signed.

    Raises:
        ImageError: the frame says something else than the header, makes no sense, or ends too early.
    """
    data, picture = frame.data, frame.picture
    begin = data.find(_BEGIN, 0, _BEGIN_MOST)
    end = begin + 4 + int.from_bytes(data[begin + 4 : begin + 6], "big")
    if begin < 0 or end > len(data) or end < begin + 42:
        raise frame.damaged("has no whole header of JPEG 2000")
    x, y, left, top, across, down, tile_left, tile_top, count = struct.unpack_from(">8IH", data, begin + 8)
    frame.check_size(x - left, y - top)
    components = data[begin + 42 : end]
    first_holds = tile_left <= left < tile_left + across and tile_top <= top < tile_top + down  # B.3
    tiles = -(-(x - tile_left) // across) * -(-(y - tile_top) // down) if first_holds else 0
    if not 1 <= tiles <= _TILES_MOST or len(components) != 3 * count:
        raise frame.damaged("has a damaged header of JPEG 2000")
    if count != picture.samples:
        raise frame.differs(f"{count} components", f"{picture.samples} for each pixel")
    steps = {*components[1::3], *components[2::3]}
    if 0 in steps:
        raise frame.damaged("has a damaged header of JPEG 2000")
    if steps != {1}:
        raise frame.differs("colour of fewer samples", "one for each pixel")
    bits = sorted({(one & 127) + 1 for one in components[::3]})
    if len(bits) > 1 or bits[-1] > picture.allocated:
        coded = " and ".join(map(str, bits))
        raise frame.differs(f"{coded} bits a sample", f"{picture.stored} stored in {picture.allocated}")
    found, reached = follow_tiles(data, end)
    if any(tile >= tiles for tile in found):
        raise frame.damaged("has a tile that cannot be")
    closed = data[reached : reached + 2] == _EOC or FILL.issuperset(data[reached:])
    if not closed or reached > len(data) or sum(found.values()) < tiles:  # a decoder fills what is missing with gray
        raise frame.truncated("ends before its last tile")
