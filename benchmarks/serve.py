"""What HTTP costs, and what a hostile client costs: python benchmarks/serve.py MODEL FOLDER [--soak 20000].

MODEL is a .onnx file or a bundle, FOLDER holds images. The bare runtime (decode, run) works in a process and with
threads of its own, as many as the server, and is asked for what an answer is made of; its rounds and the server's
alternate in one run, so that a busy machine slows both. The client shares the machine's CPUs with the server and is
charged to it in time by the clock; its part is printed. Time of the CPU is the server's alone, and says more where
others use the machine: of its event loop's thread (HTTP) and of its workers (the image) apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from zoo._support.machine import processor
from zoo.edge._stream import expand

CONCURRENCY = 8
CLIENTS = (1, 8, 50)
QUEUE = str(2 * max(CLIENTS))
IMAGES = 200
BARE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoo.edge.bundle import open_model
from zoo.edge._asking import decisive_outputs
from zoo.edge._session import open_session
from zoo.readers import read
model, workers, threads, *files = sys.argv[1:]
contents = open_model(Path(model))
session = open_session(contents.model, model, provider="cpu", threads=int(threads))
name = contents.manifest.input.name
outputs = list(decisive_outputs(contents.manifest))
images = [Path(file).read_bytes() for file in files]
def answer(data):
    return session.run(outputs, {name: read(data).pixels[None]})
pool = ThreadPoolExecutor(int(workers))
for line in sys.stdin:
    begun, cpu = time.perf_counter(), time.process_time()
    list(pool.map(answer, (images[i % len(images)] for i in range(int(line)))))
    print(json.dumps([time.perf_counter() - begun, time.process_time() - cpu]), flush=True)
"""


class Served:
    """A running server and what its process has used."""

    def __init__(self, model: Path, *options: str) -> None:
        command = [sys.executable, "-m", "zoo.edge", "serve", str(model), "--port", "0", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = json.loads(self.process.stdout.readline() if self.process.stdout else "")

    def cpu(self) -> tuple[float, float]:
        """Seconds of its first thread, which is the event loop's, and of all others."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        spent = {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks.iterdir()}
        loop = spent.pop(str(self.process.pid))
        return loop, sum(spent.values())

    def megabytes(self) -> float:
        """Resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own."""
        return await asyncio.open_connection(self.said["host"], self.said["port"])

    def leave(self) -> None:
        """End it, which must succeed."""
        self.process.terminate()
        if self.process.wait(30):
            sys.exit(f"the server ended with status {self.process.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=400, help="in one round")
    parser.add_argument("--soak", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=1000, help="of the largest attack")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    if asked.smallest:
        asked.rounds, asked.requests, asked.soak, asked.clients = 1, 16, 20, 20
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limit[1]), limit[1]))
    files = [str(source) for _, source in expand(asked.folder)]
    random.Random(0).shuffle(files)  # noqa: S311 - an order, no secret
    files = files[:IMAGES]
    print(f"{processor().name}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {len(files)} images", flush=True)
    throughput(asked.model, files, asked.rounds, asked.requests)
    print(f"load {os.getloadavg()[0]:.1f} then", flush=True)
    served = Served(asked.model, "--head-timeout", "2", "--body-timeout", "2")
    bodies = [Path(file).read_bytes() for file in files]
    soak(served, bodies, asked.soak)
    asyncio.run(attacks(served, bodies, asked.clients))
    served.leave()
    patient = Served(asked.model)  # with the deadlines that it has by itself
    print(asyncio.run(stalled(patient, bodies, 300, 20 * CONCURRENCY)), flush=True)
    patient.leave()
    return 0


def throughput(model: Path, files: list[str], rounds: int, count: int) -> None:
    bodies = [Path(file).read_bytes() for file in files]
    served = Served(model, "--queue", QUEUE)
    workers, threads = served.said["workers"], served.said["threads"]
    bares = {(workers, threads), (1, workers * threads)}
    bare = {shape: bare_process(model, files, *shape) for shape in sorted(bares, reverse=True)}
    seconds: dict[Any, list[float]] = {shape: [] for shape in (*bare, *CLIENTS)}
    spent: dict[Any, list[float]] = {shape: [] for shape in (*bare, "loop", "workers", "client")}
    latencies: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    for turn in range(rounds + 1):
        warm = turn > 0
        for shape, process in bare.items():
            wall, cpu = bare_round(process, count)
            seconds[shape] += [wall] * warm
            spent[shape] += [cpu] * warm
        for clients in CLIENTS:
            before, own, begun = served.cpu(), time.process_time(), time.perf_counter()
            times = asyncio.run(load(served, bodies, count, clients))
            seconds[clients] += [time.perf_counter() - begun] * warm
            latencies[clients] += times * warm
            if clients == CONCURRENCY:
                spent["client"] += [time.process_time() - own] * warm
                for name, was, now in zip(("loop", "workers"), before, served.cpu(), strict=True):
                    spent[name] += [now - was] * warm
    for process in bare.values():
        process.stdin.close()
        process.wait()
    served.leave()
    say_throughput((workers, threads), seconds, spent, count)
    for clients in CLIENTS:
        rate = count / statistics.median(seconds[clients])
        print(f"{clients} clients: {rate:.0f} images/s; {percentiles(latencies[clients])}")


def say_throughput(
    first: tuple[int, int], seconds: dict[Any, list[float]], spent: dict[Any, list[float]], count: int
) -> None:
    """The server beside the bare runtime of the shape `first`."""
    milliseconds = {name: 1e3 * statistics.median(times) / count for name, times in spent.items()}
    for shape in (shape for shape in spent if isinstance(shape, tuple)):
        name = f"bare, {shape[0]} workers x {shape[1]} threads"
        rate = count / statistics.median(seconds[shape])
        print(f"{name}: {rate:.0f} images/s, {milliseconds[shape]:.2f} CPU ms an image")
    print(
        f"served, {CONCURRENCY} at a time: {count / statistics.median(seconds[CONCURRENCY]):.0f} images/s, CPU ms an "
        f"image: workers {milliseconds['workers']:.2f}, HTTP {milliseconds['loop']:.2f}, "
        f"client {milliseconds['client']:.2f}"
    )
    ratios = [b / s for b, s in zip(seconds[first], seconds[CONCURRENCY], strict=True)]
    costs = [b / (s + w) for b, s, w in zip(spent[first], spent["loop"], spent["workers"], strict=True)]
    print(
        f"served / bare: {statistics.median(ratios):.3f} (rounds {min(ratios):.3f} to {max(ratios):.3f})  bar: >= 0.95"
    )
    print(f"CPU bare / served: {statistics.median(costs):.3f} (rounds {min(costs):.3f} to {max(costs):.3f})")


def bare_process(model: Path, files: list[str], workers: int, threads: int) -> Any:
    command = [sys.executable, "-c", BARE, str(model), str(workers), str(threads), *files]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def bare_round(process: Any, count: int) -> tuple[float, float]:
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    wall, cpu = json.loads(process.stdout.readline())
    return wall, cpu


def percentiles(times: list[float]) -> str:
    cut = statistics.quantiles(times, n=100)
    return f"p50 {1e3 * cut[49]:.1f}, p95 {1e3 * cut[94]:.1f}, p99 {1e3 * cut[98]:.1f} ms"


async def load(served: Served, bodies: list[bytes], count: int, concurrency: int) -> list[float]:
    """Seconds of each of `count` requests over `concurrency` connections."""
    numbers = iter(range(count))
    times: list[float] = []

    async def caller() -> None:
        reader, writer = await served.connect()
        for i in numbers:
            begun = time.perf_counter()
            status = await ask(reader, writer, bodies[i % len(bodies)])
            if status != 200:
                sys.exit(f"status {status}")
            times.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return times


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> int:
    writer.write(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return await status_of(reader)


async def status_of(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head[9:12])


def soak(served: Served, bodies: list[bytes], total: int) -> None:
    """Resident memory in ten steps over `total` requests."""
    sizes, times = [], []
    for _ in range(10):
        times += asyncio.run(load(served, bodies, total // 10, CONCURRENCY))
        sizes.append(served.megabytes())
    print(
        f"{total} requests: {percentiles(times)}; resident MB {' '.join(f'{size:.0f}' for size in sizes)}", flush=True
    )


async def attacks(served: Served, bodies: list[bytes], most: int) -> None:
    """Each with its number of clients or images: `most`, or a tenth of it for those who send slowly."""
    few = max(1, most // 10)
    for attack, what, count in (
        (malformed, f"{most} malformed images", most),
        (endless, "a chunked body of 10 GB", 1),
        (slow_heads, f"{few} clients that send a head's byte every 0.2 s", few),
        (slow_bodies, f"{few} clients that send a body's byte every 0.2 s", few),
        (crowd, f"{most} idle connections", most),
    ):
        before, begun = served.megabytes(), time.perf_counter()
        said = await attack(served, bodies, count)
        wall = time.perf_counter() - begun
        reader, writer = await served.connect()
        begun = time.perf_counter()
        status = await ask(reader, writer, bodies[0])
        after = time.perf_counter() - begun
        writer.close()
        print(
            f"{what}: {said}; {wall:.1f} s; resident {before:.0f} -> {served.megabytes():.0f} MB; "
            f"next request {status} in {1e3 * after:.0f} ms",
            flush=True,
        )


async def malformed(served: Served, bodies: list[bytes], count: int) -> str:
    """Images cut short or with twenty changed bytes."""
    reader, writer = await served.connect()
    dice = random.Random(1)  # noqa: S311 - no secret
    seen: dict[int, int] = {}
    for i in range(count):
        body = bytearray(bodies[i % len(bodies)])
        if i % 2:
            del body[dice.randrange(len(body)) :]
        else:
            for _ in range(20):
                body[dice.randrange(len(body))] = dice.randrange(256)
        status = await ask(reader, writer, bytes(body))
        seen[status] = seen.get(status, 0) + 1
    writer.close()
    return ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))


async def endless(served: Served, _bodies: list[bytes], _count: int) -> str:
    """A chunked body of 10 GB."""
    reader, writer = await served.connect()
    writer.write(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk, sent = b"100000\r\n" + bytes(2**20) + b"\r\n", 0
    answer = asyncio.ensure_future(status_of(reader))
    with contextlib.suppress(ConnectionError):
        for _ in range(10_000):
            writer.write(chunk)
            await writer.drain()
            sent += 1
    writer.close()
    return f"{await answer}, hung up after {sent} MiB"


async def slow_heads(served: Served, bodies: list[bytes], count: int) -> str:
    """Clients whose head comes byte by byte."""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 100
    return await trickled(served, bodies, count, head)


async def slow_bodies(served: Served, bodies: list[bytes], count: int) -> str:
    """Clients whose body comes byte by byte."""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    return await trickled(served, bodies, count, b"\0" * 100, head)


async def trickled(served: Served, bodies: list[bytes], count: int, slow: bytes, first: bytes = b"") -> str:
    async def client() -> int:
        reader, writer = await served.connect()
        writer.write(first)
        answer = asyncio.ensure_future(status_of(reader))
        for byte in slow:
            writer.write(bytes([byte]))
            await asyncio.wait({answer}, timeout=0.2)
            if answer.done():
                break
        writer.close()
        return await answer

    clients = [asyncio.ensure_future(client()) for _ in range(count)]
    await asyncio.sleep(1)
    reader, writer = await served.connect()
    begun = time.perf_counter()
    among = await ask(reader, writer, bodies[0])
    took = time.perf_counter() - begun
    writer.close()
    statuses = sorted(await asyncio.gather(*clients))
    counts = ", ".join(f"{len(list(group))} x {status}" for status, group in itertools.groupby(statuses))
    return f"{counts}; a request among them {among} in {1e3 * took:.0f} ms"


async def stalled(served: Served, bodies: list[bytes], clients: int, count: int) -> str:
    """Uploads that announce a megabyte and send nothing, and `count` good requests, each on a connection of its own."""
    held = [await served.connect() for _ in range(clients)]
    for _, writer in held:
        writer.write(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    numbers = iter(range(count))
    seen: dict[int, int] = {}

    async def caller() -> None:
        for i in numbers:
            reader, writer = await served.connect()
            try:
                status = await ask(reader, writer, bodies[i % len(bodies)])
            except (ConnectionError, asyncio.IncompleteReadError):
                status = 0
            seen[status] = seen.get(status, 0) + 1
            writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    took = time.perf_counter() - begun
    for _, writer in held:
        writer.close()
    counts = ", ".join(f"{n} x {status}" for status, n in sorted(seen.items()))
    return f"{clients} uploads that send nothing; {count} requests among them: {counts}; {took:.1f} s"


async def crowd(served: Served, bodies: list[bytes], count: int) -> str:
    """Connections that say nothing."""
    held = [await served.connect() for _ in range(count)]
    reader, writer = await served.connect()
    begun = time.perf_counter()
    among = await ask(reader, writer, bodies[0])
    took = time.perf_counter() - begun
    size = served.megabytes()
    for _, one in [*held, (reader, writer)]:
        one.close()
    return f"a request among them {among} in {1e3 * took:.0f} ms, {size:.0f} MB then"


if __name__ == "__main__":
    sys.exit(main())
