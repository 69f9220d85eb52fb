"""Many files → an index: folders, tables, archives, shards, named sets; labels, splits and a fingerprint."""

from __future__ import annotations

from zoo.data._advice import Advice, apply_advice
from zoo.data._decode import Decoded, Plan, carry_out, decode_all, plan_decoding
from zoo.data._describe import DataDescription, describe_data
from zoo.data._grades import order_grades
from zoo.data._index import ImageSet, SplitName, Splits
from zoo.data._labels import align, balance, count_labels, find_rarest, log_prior
from zoo.data._named import find_images, find_named, judge_uncertain, open_data, reopen_data
from zoo.data._pixels import digest_all
from zoo.data._rows import STEPS, HeldRows, Rows
from zoo.data._sharding import ShardsResult
from zoo.data._sources.columns import ABOUT
from zoo.data._splitting.seen import (
    SEEN,
    TRAINED_ON,
    Seen,
    add_pixels,
    add_seen,
    format_seen,
    join_start,
    leave_out_unread,
    parse_seen,
    read_seen,
    write_seen,
)
from zoo.data._splitting.split import HELD_OUT
from zoo.data._splitting.split_table import SplitTable, split_table
from zoo.data._stream import StreamedRows
from zoo.data._threads import Progress
from zoo.data._unusable import refuse_bad

__all__ = [
    "ABOUT",
    "HELD_OUT",
    "SEEN",
    "STEPS",
    "TRAINED_ON",
    "Advice",
    "DataDescription",
    "Decoded",
    "HeldRows",
    "ImageSet",
    "Plan",
    "Progress",
    "Rows",
    "Seen",
    "ShardsResult",
    "SplitName",
    "SplitTable",
    "Splits",
    "StreamedRows",
    "add_pixels",
    "add_seen",
    "align",
    "apply_advice",
    "balance",
    "carry_out",
    "count_labels",
    "decode_all",
    "describe_data",
    "digest_all",
    "find_images",
    "find_named",
    "find_rarest",
    "format_seen",
    "join_start",
    "judge_uncertain",
    "leave_out_unread",
    "log_prior",
    "open_data",
    "order_grades",
    "parse_seen",
    "plan_decoding",
    "read_seen",
    "refuse_bad",
    "reopen_data",
    "split_table",
    "write_seen",
]


def __dir__() -> list[str]:
    return __all__
