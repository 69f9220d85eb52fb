"""Many files → an index: folders, tables, archives, shards, named sets; labels, splits and a fingerprint."""

from __future__ import annotations

from zoo.data.decode import Decoded, decode_all
from zoo.data.index import ImageSet, SplitName, Splits
from zoo.data.labels import align
from zoo.data.named import advised, named, open_data, reopen_data
from zoo.data.splitting.seen import TRAINED_ON, read_seen, seen_among, write_seen
from zoo.data.splitting.split import HELD_OUT
from zoo.data.splitting.split_table import SplitTable, split_table
from zoo.data.threads import Progress

__all__ = [
    "HELD_OUT",
    "TRAINED_ON",
    "Decoded",
    "ImageSet",
    "Progress",
    "SplitName",
    "SplitTable",
    "Splits",
    "advised",
    "align",
    "decode_all",
    "named",
    "open_data",
    "read_seen",
    "reopen_data",
    "seen_among",
    "split_table",
    "write_seen",
]
