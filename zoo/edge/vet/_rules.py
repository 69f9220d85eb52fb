"""Which ONNX files are opened: the rules, applied to a file's bytes before ONNX Runtime sees them.

onnx.checker lets through weights that are not numbers, a loop without end and opset 9999; ONNX Runtime alone takes
two initializers of one name and reads weights from a hard-linked file. So a file is opened only when everything
in it is on a list: operators, types, versions; and when its sizes are within limits. What no rule on a file
can bound is the memory that shapes computed while running ask for; `zoo.edge._isolation` bounds that.

What this module does not know: manifests, labels, providers.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.edge.vet._numbers import BITS, FLOATS, all_finite, count, finite, floats, values
from zoo.edge.vet._operators import ALLOWED, ML, STANDARD
from zoo.edge.vet._outline import MOST_INTS, Outline, outline, short
from zoo.edge.vet._wire import MalformedError, RefusedError
from zoo.errors import ModelError
from zoo.spec import COLUMN_INPUT, MOST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from zoo.edge.vet._outline import Node, Tensor, Value

__all__ = ["check"]

OPSETS = range(13, 29)
"""Versions of ai.onnx: from the first with per-channel QuantizeLinear to the newest of onnx 1.23."""
ML_OPSETS = range(1, 6)
IR_VERSIONS = range(7, 15)
"""From the one that came with opset 13 to the newest of onnx 1.23; the installed runtime may take fewer."""

MOST_NODES = 20_000
"""And as many weights. Ten times the largest network of timm that we exported; that many take 0.2 s here and ONNX
Runtime about a second, whatever they are (see `zoo.edge._session`)."""
MOST_NAME = 1_000
"""Bytes of one name. The longest that torch gave the networks of timm has 31."""
MOST_TEXT = 32 * 2**20
"""Bytes of all metadata, and of all descriptions; the manifest within may have half of it."""
MOST_SIDES = 8
"""Sides of a tensor, such as (N, heads, rows, columns, …)."""
MOST_ELEMENTS = 2**28
"""Elements of all tensors that nodes make from constant shapes: a gibibyte of float32."""
MOST_COPIES = 2**20
"""Copies of its input that a node makes, alone or with those before it: an image of 1 pixel to one of a megapixel."""
MOST_TAPS = 2**12
"""Values that a pool looks at for each one it steps over: a map of 64 x 64 pooled whole, with a step of 1."""
MOST_STEP = 2**16
"""Size of a kernel, stride, dilation or border, in pixels: the longest side of an image that is read."""

_FLOAT = 1
_INPUT_TYPES = {_FLOAT, 2, 4}  # float32, uint8, uint16: what InputSpec can say
_STEPS = {"kernel_shape", "pads", "strides", "dilations", "output_padding", "output_shape", "blocksize", "block_shape"}
_MADE = "values"
_POOLS = {"AveragePool", "LpPool", "MaxPool"}
_STRIDED = _POOLS | {"Conv", "ConvInteger", "QLinearConv"}
_SMALL = 1_024  # values of a constant that may be a shape


def check(model: bytes, name: str) -> Outline:
    """Refuse a file that is not to be opened.

    Args:
        model: the whole file: a serialized ModelProto.
        name: how errors name the file.

    Returns:
        What the file says of itself.

    Raises:
        ModelError: empty, truncated or not ONNX; versions, operators, types or sizes outside the lists; weights
            in another file, there twice, of a wrong length, or with NaN or infinity. One line, with what to do.
    """
    try:
        found = outline(model, MOST_NODES)
        if found.graphs != 1:
            raise MalformedError(f"it holds {found.graphs} graphs, expected 1")
        _versions(found)
        _texts(found)
        _values(found)
        _nodes(found)
        constants = _tensors(model, found)
        made: Counter[str] = Counter()
        copies: dict[str, float] = {}
        for node in found.nodes:
            _sizes(node, constants, made)
            _growth(node, constants, copies)
            _fatal(node, constants)
    except MalformedError as problem:
        raise ModelError(
            f"{name}: not a whole ONNX file ({problem}); copy or export it again", code="model-malformed"
        ) from None
    except RefusedError as problem:
        raise ModelError(f"{name}: {problem}", code=problem.code, **problem.fields) from None
    return found


def _versions(found: Outline) -> None:
    if found.ir_version not in IR_VERSIONS:
        raise RefusedError(
            f"IR version {found.ir_version}, expected {IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}; "
            "export the model again",
            code="model-version",
            found=found.ir_version,
        )
    for domain, allowed in ((STANDARD, OPSETS), (ML, ML_OPSETS)):
        version = found.opsets.get(domain)
        if version not in allowed and (version is not None or domain == STANDARD):
            raise RefusedError(
                f"opset {'missing' if version is None else version}{domain and f' of {domain}'}, "
                f"expected {allowed.start} to {allowed.stop - 1}; export the model again",
                code="model-version",
                found=version,
                domain=domain,
            )


def _texts(found: Outline) -> None:
    metadata = sum(len(key) + len(value) for key, value in found.metadata.items())
    for what, size, most in (
        ("bytes of metadata", metadata, MOST_TEXT),
        ("bytes of descriptions", found.texts, MOST_TEXT),
    ):
        if size > most:
            raise RefusedError(
                f"{size} {what}, expected at most {most}; export the model again",
                code="model-many",
                what=what,
                most=most,
            )


def _values(found: Outline) -> None:
    beside = found.inputs[1:]
    columns = [one for one in beside if one.name.startswith(COLUMN_INPUT) and (one.kind, one.rank) == (_FLOAT, 1)]
    if not found.inputs or len(columns) < len(beside) or len(beside) > MOST_COLUMNS:
        names = ", ".join(short(value.name) for value in found.inputs[:4]) or "none"
        raise RefusedError(
            f"{len(found.inputs)} inputs ({names}), expected the image, and behind it at most {MOST_COLUMNS} columns, "
            f"{COLUMN_INPUT}NAME (N,) float32; export the model again",
            code="model-input",
            inputs=len(found.inputs),
        )
    if not found.outputs:
        raise RefusedError(
            "no outputs, expected probabilities and logits; export the model again", code="model-outputs", outputs=0
        )
    for value in found.inputs:
        _check_type(value, "input", _INPUT_TYPES, "uint8, uint16 or float32")
    for value in found.outputs:
        _check_type(value, "output", {_FLOAT}, "float32")


def _check_type(value: Value, what: str, allowed: set[int], expected: str) -> None:
    if value.kind not in allowed or value.rank is None:
        kind = f"type {value.kind}" if value.kind else "no tensor type"
        shape = "" if value.rank is not None else " and no shape"
        raise RefusedError(
            f"{what} {short(value.name)} has {kind}{shape}, expected a tensor of {expected} with a shape; "
            "export the model again",
            code="model-value",
            value=short(value.name),
        )


def _nodes(found: Outline) -> None:
    made = {value.name for value in found.inputs}
    for node in found.nodes:
        if (node.domain, node.operator) not in ALLOWED:
            _refuse_operator(node)
        names = [attribute.name for attribute in node.attributes]
        if len(set(names)) != len(names):
            raise RefusedError(
                f"operator {node.operator} has an attribute twice; export the model again",
                code="model-twice",
                operator=node.operator,
            )
        for name in node.outputs:
            if name and name in made:  # an output that is not wanted has no name
                raise RefusedError(
                    f"two values are named {short(name)}; export the model again", code="model-twice", name=short(name)
                )
            made.add(name)
        for name in (*node.inputs, *node.outputs, *names):
            _check_name(name)
    for tensor in found.initializers:
        if tensor.name in made:
            twins = [other.name for other in found.initializers].count(tensor.name) > 1
            what = "initializers" if twins else "values"
            raise RefusedError(
                f"two {what} are named {short(tensor.name)}; export the model again",
                code="model-twice",
                name=short(tensor.name),
            )
        made.add(tensor.name)
        _check_name(tensor.name)


def _refuse_operator(node: Node) -> None:
    if node.domain not in {STANDARD, ML}:
        raise RefusedError(
            f"operator {short(f'{node.domain}:{node.operator}')} is not standard ONNX, "
            "expected ai.onnx or ai.onnx.ml only; export the model without it",
            code="model-operator",
            operator=f"{node.domain}:{node.operator}",
        )
    raise RefusedError(
        f"operator {short(node.operator)} is not on the list of those that are run, expected a plain network; "
        "export the model without it",
        code="model-operator",
        operator=node.operator,
    )


def _check_name(name: str) -> None:
    if len(name) > MOST_NAME:
        raise RefusedError(
            f"the name {short(name)} has {len(name)} characters, expected at most {MOST_NAME}",
            code="model-name",
            characters=len(name),
        )


def _tensors(model: bytes, found: Outline) -> dict[str, NDArray[Any]]:
    """Check every tensor; give back the small ones by name, for they may be shapes."""
    constants: dict[str, NDArray[Any]] = {}
    named = [(tensor.name, tensor) for tensor in found.initializers]
    for node in found.nodes:
        for attribute in node.attributes:
            what = f"{node.operator} {short(attribute.name)}"
            for span in attribute.floats:
                held = floats(model, span)
                if not all_finite(held):
                    raise RefusedError(_no_numbers(what), code="model-not-finite", tensor=what)
                if node.operator == "Constant" and node.outputs:
                    constants[node.outputs[0]] = held[:_SMALL]
            if node.operator == "Constant" and node.outputs:
                named += [(node.outputs[0], tensor) for tensor in attribute.tensors]
                if attribute.ints:
                    constants[node.outputs[0]] = np.array(attribute.ints)
            else:  # the one value that ConstantOfShape repeats is not what it makes
                for tensor in attribute.tensors:
                    _tensor(model, what, tensor)
    for name, tensor in named:
        _tensor(model, short(name), tensor)
        if math.prod(tensor.dims) <= _SMALL:
            constants[name] = values(model, tensor)
    return constants


def _tensor(model: bytes, shown: str, tensor: Tensor) -> None:
    what = f"tensor {shown}"
    if tensor.kind not in BITS:
        raise RefusedError(
            f"{what} is of type {tensor.kind}, expected floats, integers or truth values; export the model again",
            code="model-tensor",
            tensor=what,
        )
    if any(side >= 1 << 63 for side in tensor.dims):
        raise RefusedError(f"{what} has a negative size; export the model again", code="model-tensor", tensor=what)
    if len(tensor.dims) > MOST_SIDES:
        raise RefusedError(
            f"{what} has {len(tensor.dims)} sides, expected at most {MOST_SIDES}; export it again",
            code="model-tensor",
            tensor=what,
        )
    wanted = math.prod(tensor.dims)
    if len(tensor.spans) > 1:
        raise RefusedError(f"{what} holds its numbers twice; export the model again", code="model-twice", tensor=what)
    number, held = count(model, tensor)
    if number == "bytes":
        wanted *= BITS[tensor.kind] // 8
    if held != wanted:
        raise RefusedError(
            f"{what} holds {held} {number}, expected {wanted} for its shape; export the model again",
            code="model-tensor",
            tensor=what,
        )
    if tensor.kind in FLOATS and not finite(model, tensor):
        raise RefusedError(_no_numbers(what), code="model-not-finite", tensor=what)


def _no_numbers(what: str) -> str:
    return f"{what} holds NaN or an infinity, so its training or conversion failed; train or export it again"


def _sizes(node: Node, constants: dict[str, NDArray[Any]], made: Counter[str]) -> None:
    """Refuse a node that makes something huge from constants alone; `made` sums up what those before it make."""
    for what, asked, most in (*_steps(node), *_find_asked(node.operator, _find_constants(node, constants))):
        if what == _MADE and asked <= most:
            made[_MADE] += int(asked)
            _refuse_much(node, "values with those of other nodes", made[_MADE], most)
        _refuse_much(node, what, asked, most)


def _refuse_much(node: Node, what: str, asked: float, most: int) -> None:
    if not asked <= most:
        raise RefusedError(
            f"operator {node.operator} asks for {asked:.3g} {what}, expected at most {most}; export the model again",
            code="model-asks-much",
            operator=node.operator,
            what=what,
            most=most,
        )


def _find_constants(node: Node, constants: dict[str, NDArray[Any]]) -> list[list[float] | None]:
    """The first inputs of a node, None for those that are not constants."""
    held = [constants.get(name) for name in node.inputs[:4]]
    return [None if one is None else one.tolist() for one in held]


def _growth(node: Node, constants: dict[str, NDArray[Any]], copies: dict[str, float]) -> None:
    """Refuse a chain of nodes that repeat their input, such as thirty that each join a tensor with itself.

    `copies` holds how often each value may repeat what it was made of. Strides take some back. Sizes that are computed
    while the graph runs are not seen here; `zoo.edge._isolation` bounds those.
    """
    known = [copies[name] for name in node.inputs if name in copies]
    found = max(known, default=1.0)
    if node.operator == "Concat":
        found *= max(Counter(node.inputs).values(), default=1)
    elif node.operator in {"Resize", "Tile"}:
        times = [
            asked for what, asked, _ in _find_asked(node.operator, _find_constants(node, constants)) if what != _MADE
        ]
        found *= max(1.0, *times)
    elif node.operator in _STRIDED:
        found = max(1.0, found / math.prod(max(1, step) for step in _ints(node, "strides")))
    _refuse_much(node, "copies with those of the nodes before it", found, MOST_COPIES)
    if found > 1:
        copies.update(dict.fromkeys(node.outputs, found))


def _fatal(node: Node, constants: dict[str, NDArray[Any]]) -> None:
    """Refuse what ONNX Runtime 1.31 does not refuse: it reads outside of the array, and the process ends."""
    problem = None
    if node.operator == "OneHot":
        depth = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if depth is None or depth.size != 1:
            problem = "needs a depth that is one constant number"
    elif node.operator in {"LayerNormalization", "QuantizeLinear"} and node.inputs[2:3] == ("",):
        problem = "names no third input and leaves room for it; leave the room out"
    elif node.operator == "GatherND":
        first = [value for attribute in node.attributes if attribute.name == "batch_dims" for value in attribute.ints]
        if any(not 0 <= value <= MOST_SIDES for value in first):
            problem = f"has batch_dims {first[0]}, expected 0 to {MOST_SIDES}"
    if problem:
        raise RefusedError(
            f"operator {node.operator} {problem}, or ONNX Runtime crashes; export the model again",
            code="model-crashes",
            operator=node.operator,
        )


def _steps(node: Node) -> Iterator[tuple[str, float, int]]:
    for attribute in node.attributes:
        if attribute.name in _STEPS and attribute.ints:
            yield f"numbers in {attribute.name}", len(attribute.ints), MOST_INTS
            yield f"pixels by {attribute.name}", max(map(abs, attribute.ints)), MOST_STEP
    if node.operator in _POOLS:
        taps, step = math.prod(_ints(node, "kernel_shape")), math.prod(_ints(node, "strides"))
        yield "values a step", abs(taps) / max(1, abs(step)), MOST_TAPS


def _ints(node: Node, name: str) -> tuple[int, ...]:
    return next((attribute.ints for attribute in node.attributes if attribute.name == name), ())


def _find_asked(operator: str, given: list[list[float] | None]) -> Iterator[tuple[str, float, int]]:
    """What a node makes, as far as its inputs are constants: what it is, how much, how much it may be."""
    known = dict(enumerate(given))

    def product(at: int) -> float:
        return math.prod(float(abs(side)) for side in known.get(at) or [0])

    if operator == "ConstantOfShape":
        yield _MADE, product(0), MOST_ELEMENTS
    elif operator in {"AffineGrid", "Col2Im", "Expand", "OneHot"}:
        yield _MADE, product(1), MOST_ELEMENTS
    elif operator == "Tile":
        yield "copies", product(1), MOST_COPIES
    elif operator == "Resize":
        yield "times as many values", product(2), MOST_COPIES
        yield _MADE, product(3), MOST_ELEMENTS
    elif operator == "Pad":
        yield "pixels of border", max((abs(side) for side in known.get(1) or []), default=0), MOST_STEP
    elif operator == "Range":
        start, limit, step = (known.get(at) for at in range(3))
        if start and limit and step:
            yield _MADE, abs((limit[0] - start[0]) / step[0]) if step[0] else math.inf, MOST_ELEMENTS
