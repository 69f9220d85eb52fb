"""Many files → an index: folders, tables, archives, shards, named sets; labels, splits and a fingerprint."""

from __future__ import annotations

from zoo.data._decode import Decoded, decode_all
from zoo.data._describe import DataDescription, describe_data
from zoo.data._index import ImageSet, SplitName, Splits
from zoo.data._labels import align
from zoo.data._named import apply_advice, find_named, judge_uncertain, open_data, reopen_data
from zoo.data._splitting.seen import TRAINED_ON, count_seen, read_seen, write_seen
from zoo.data._splitting.split import HELD_OUT
from zoo.data._splitting.split_table import SplitTable, split_table
from zoo.data._threads import Progress

__all__ = [
    "HELD_OUT",
    "TRAINED_ON",
    "DataDescription",
    "Decoded",
    "ImageSet",
    "Progress",
    "SplitName",
    "SplitTable",
    "Splits",
    "align",
    "apply_advice",
    "count_seen",
    "decode_all",
    "describe_data",
    "find_named",
    "judge_uncertain",
    "open_data",
    "read_seen",
    "reopen_data",
    "split_table",
    "write_seen",
]
