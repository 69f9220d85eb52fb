"""Wall time and cost of a work over many machines, from rates measured on one; growth beyond what was run.

Every stage of a work runs beside the others: reading from object storage, decoding, the network, Ray's driver, the
exchange of gradients. So the slowest stage is the time, and it is named. The listing comes before them. Stages that a
node does for itself are divided by the number of nodes; those of the storage and of the driver are not.

What this module does not know: the time until machines are there, machines that are lost, a storage that is slower than
it promises. It measures nothing: rates and prices are its input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Layout = Literal["folder", "table", "shards"]
"""How images lie in object storage: files below a prefix, files that a table lists, or members of tar shards."""

LISTED, LIST_SECONDS = 1000, 0.1
"""Names that one request of ListObjectsV2 brings, and how long it takes; the next one waits for it. Assumed."""
GETS = 5500
"""Requests a second that S3 promises for one prefix (Amazon S3 User Guide, "Optimizing Amazon S3 performance")."""
STREAM = 90e6
"""Bytes a second of one request (Amazon S3 User Guide, "Horizontal scaling": 85 to 90 MB/s)."""
PART_REQUESTS = 3
"""Requests that write, for a part: that it was begun, its answers, its record."""


@dataclass(frozen=True)
class Machine:
    """One node, and what it costs.

    Attributes:
        name: what the tables call it.
        cores: its virtual cores.
        gpus: its GPUs.
        gigabits: of its network, a second.
        hour: its price for one hour.
        predicts: images a second that one GPU answers.
        trains: images a second that one GPU trains on.
    """

    name: str
    cores: int
    gpus: int
    gigabits: float
    hour: float
    predicts: float = 0.0
    trains: float = 0.0


@dataclass(frozen=True)
class Rates:
    """What was measured on one node; times are milliseconds of one core.

    Attributes:
        decode: one image, from its file to the pixels that the model takes.
        answer: one image through the exported file.
        step: one image in a training step, forwards and backwards.
        task: one task of Ray, of the driver's time.
        line: one row of a table of paths, of the driver's time.
        image: bytes of one file.
        row: bytes of one row of the answers.
        parameters: of the network.
    """

    decode: float
    answer: float
    step: float
    task: float
    line: float
    image: float
    row: float
    parameters: float


@dataclass(frozen=True)
class Prices:
    """Of requests and of traffic, beside the price of machines.

    Attributes:
        gets: 1000 requests that read.
        lists: 1000 requests that list or write.
        gigabyte: 10^9 bytes out of the storage; 0 within one region of S3.
    """

    gets: float = 0.0004
    lists: float = 0.005
    gigabyte: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A work on so many nodes.

    Attributes:
        nodes: how many.
        stages: seconds that each stage would take alone.
        listing: seconds before them.
        requests: the price of requests and traffic.
        machines: the price of machines.
    """

    nodes: int
    stages: Mapping[str, float]
    listing: float
    requests: float
    machines: float

    @property
    def seconds(self) -> float:
        """From the first request to the last row."""
        return self.listing + max(self.stages.values())

    @property
    def bottleneck(self) -> str:
        """What more nodes, or other machines, would have to speed up."""
        return max({**self.stages, "listing": self.listing}.items(), key=lambda stage: stage[1])[0]

    @property
    def cost(self) -> float:
        """Machines, requests and traffic."""
        return self.machines + self.requests


def plan_prediction(
    images: float,
    nodes: int,
    machine: Machine,
    rates: Rates,
    prices: Prices,
    *,
    layout: Layout = "table",
    prefixes: int = 1,
    part: int = 1000,
) -> Plan:
    """Label images that lie in object storage. Each is read by a request of its own, from a shard too.

    Args:
        images: how many.
        nodes: how many machines.
        machine: each of them.
        rates: of one core.
        prices: of requests.
        layout: how they lie there, which decides what the listing costs.
        prefixes: parts of the bucket that S3 serves apart.
        part: images of one task, and of one table of answers.
    """
    listing = {
        "folder": images / LISTED * LIST_SECONDS,
        "table": images * rates.line / 1e3,
        "shards": images * rates.image / STREAM,  # the driver reads every shard to find where its images begin
    }[layout]
    cpu = rates.decode + (0 if machine.gpus else rates.answer)
    stages = {
        "CPU": images * cpu / 1e3 / (nodes * machine.cores),
        "network": images * rates.image / (nodes * machine.gigabits / 8 * 1e9),
        "storage requests": images / GETS / prefixes,
        "Ray's driver": images / part * rates.task / 1e3,
    }
    if machine.gpus:
        stages["GPU"] = images / (nodes * machine.gpus * machine.predicts)
    puts = images / part * PART_REQUESTS + (images / LISTED if layout == "folder" else 0)
    return _price(nodes, stages, listing, machine, prices, gets=images, puts=puts, moved=images * rates.image)


def plan_training(
    images: float,
    nodes: int,
    machine: Machine,
    rates: Rates,
    prices: Prices,
    *,
    epochs: int = 20,
    batch: int = 64,
    shard: int = 4000,
) -> Plan:
    """Train on images of tar shards that are streamed in every epoch.

    Args:
        images: how many, in one epoch.
        nodes: how many machines.
        machine: each of them; a machine without GPUs has one process.
        rates: of one core.
        prices: of requests.
        epochs: how often each image is seen.
        batch: images of one step of one process.
        shard: images of one object.
    """
    seen, ranks = images * epochs, nodes * max(machine.gpus, 1)
    # a ring: each node sends and takes its gradients twice, less its own part (Patarasuk and Yuan 2009)
    sent = 2 * (nodes - 1) / nodes * 4 * rates.parameters
    link = machine.gigabits / 8 * 1e9
    cpu = rates.decode + (0 if machine.gpus else rates.step)
    stages = {
        "CPU": seen * cpu / 1e3 / (nodes * machine.cores),
        "network": seen * rates.image / (nodes * link),
        "storage requests": seen / shard / GETS,
        "gradients": seen / (ranks * batch) * sent / link,
    }
    if machine.gpus:
        stages["GPU"] = seen / (nodes * machine.gpus * machine.trains)
    listing = images / shard / LISTED * LIST_SECONDS
    puts = images / shard / LISTED
    return _price(nodes, stages, listing, machine, prices, gets=seen / shard, puts=puts, moved=seen * rates.image)


def _price(
    nodes: int,
    stages: dict[str, float],
    listing: float,
    machine: Machine,
    prices: Prices,
    *,
    gets: float,
    puts: float,
    moved: float,
) -> Plan:
    requests = (gets * prices.gets + puts * prices.lists) / 1e3 + moved / 1e9 * prices.gigabyte
    hours = (listing + max(stages.values())) / 3600
    return Plan(nodes, stages, listing, requests, hours * nodes * machine.hour)


def fit_power(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Factor and exponent of values = factor · sizes^exponent, by least squares of the logarithms."""
    if len(sizes) < 2:
        return values[0] / sizes[0], 1.0
    across, up = [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    exponent = sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True))
    exponent /= sum((x - middle) ** 2 for x in across)
    return math.exp(height - exponent * middle), exponent


def extrapolate(sizes: Sequence[float], values: Sequence[float], to: float) -> float:
    """The value at `to`: by the fitted exponent, or by the line through the last two sizes where that gives more.

    The line is for what has a large part that does not grow, which hides the exponent of the rest.
    """
    power = values[-1] * float((to / sizes[-1]) ** fit_power(sizes, values)[1])
    if len(sizes) < 2:
        return power
    slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return max(power, values[-1] + slope * (to - sizes[-1]))


def is_flat(sizes: Sequence[float], values: Sequence[float]) -> bool:
    """Whether a value hardly grows any more: below the cube root of the size, between the last two."""
    return len(sizes) > 1 and fit_power(sizes[-2:], values[-2:])[1] < 1 / 3


def say_time(seconds: float) -> str:
    """A time in the unit that people use for it."""
    for least, unit, name in ((172_800, 86_400, "days"), (5400, 3600, "h"), (90, 60, "min"), (0, 1, "s")):
        if seconds >= least:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f} {name}"
    raise ValueError(seconds)


def say_bytes(count: float) -> str:
    """Bytes in the unit that people use for them, of 10^3."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            value = count / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f} {name}"
    return f"{count:.0f} B"
