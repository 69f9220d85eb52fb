"""The Open Inference Protocol: its documents, its tensors, its errors, and a client of somebody else."""

from __future__ import annotations

import base64
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import COLOURS, deciding_manifest, deep_manifest, make_bundle, make_model
from serving import Server, png, serving

from zoo.edge import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

MODEL = "/v2/models/mean-colour"
BATCH = np.stack([np.full((4, 5, 3), colour, np.uint8) for colour in [(200, 10, 10), (0, 90, 10)]])
TOKEN = "0123456789abcdef-XYZ"  # noqa: S105 - of these tests


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("inferring") / "mean.zoo")


@pytest.fixture(scope="module")
def server(bundled: Path) -> Iterator[Server]:
    with serving(bundled, "--images", "3", "--max-pixels", "10000") as running:
        yield running


def tensor(**changes: Any) -> dict[str, Any]:
    flat = BATCH.ravel().tolist()
    return {"name": "image", "shape": list(BATCH.shape), "datatype": "UINT8", "data": flat} | changes


def files(*images: bytes, **changes: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "shape": [len(images)], "datatype": "BYTES", "data": data} | changes


def infer(server: Server, *inputs: dict[str, Any], behind: bytes = b"", **more: Any) -> Any:
    """The answer to a request; with `behind` the tensor follows the JSON."""
    document = json.dumps({"inputs": list(inputs), **more}).encode()
    said = {"Inference_Header_Content_Length": str(len(document))} if behind else {}
    return server.ask("POST", f"{MODEL}/infer", document + behind, **said)


def outputs(answer: Any) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {one["name"]: one["data"] for one in answer.json["outputs"]}


def test_the_server_and_its_model_say_what_the_protocol_asks(server: Server) -> None:
    told = server.ask("GET", "/v2").json
    assert told.keys() == {"name", "version", "extensions"}
    assert told["extensions"] == ["binary_tensor_data"]
    assert server.ask("GET", MODEL).json == {
        "name": "mean-colour",
        "versions": [server.started["version"]],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    assert server.ask("GET", "/v2/health/live").json["live"] is True
    assert server.ask("GET", "/v2/health/ready").json["ready"] is True
    assert server.ask("GET", f"{MODEL}/ready").json == {"name": "mean-colour", "ready": True}


@pytest.mark.parametrize("nested", [False, True])
def test_raw_pixels_get_the_probabilities_of_the_runtime(server: Server, bundled: Path, nested: bool) -> None:
    answer = infer(server, tensor(data=BATCH.tolist()) if nested else tensor(), id="42")
    expected = Runtime.open(bundled, threads=1).probabilities(BATCH)
    assert (answer.json["model_name"], answer.json["id"]) == ("mean-colour", "42")
    shares, labels = answer.json["outputs"]
    assert (shares["shape"], shares["datatype"]) == ([2, 3], "FP32")
    assert np.array_equal(np.array(shares["data"], np.float32).reshape(2, 3), expected)
    assert labels == {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["red", "green"]}


def test_files_get_what_predict_answers(server: Server) -> None:
    images = [png((0, 0, 255)), png((0, 255, 0), size=(9, 2))]
    expected = [server.ask("POST", "/predict", image).json for image in images]
    found = outputs(infer(server, files(*images, shape=[2, 1])))
    assert found["label"] == [row["label"] for row in expected]
    assert found["probabilities"] == [share for row in expected for share in row["probabilities"].values()]


def test_tensors_may_follow_the_json_both_ways(server: Server) -> None:
    plain = outputs(infer(server, tensor()))
    raw = BATCH.tobytes()
    behind = tensor(parameters={"binary_data_size": len(raw)}) | {"data": None}
    del behind["data"]
    assert outputs(infer(server, behind, behind=raw)) == plain
    images = [png((0, 0, 255)), png((0, 255, 0))]
    packed = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    given = files(*images, parameters={"binary_data_size": len(packed)})
    del given["data"]
    wanted = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    answer = infer(server, given, behind=packed, outputs=wanted)
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.body[:length])
    assert document["outputs"][0]["data"] == ["blue", "green"]
    assert document["outputs"][1]["parameters"] == {"binary_data_size": 24}
    expected = [
        share for image in images for share in server.ask("POST", "/predict", image).json["probabilities"].values()
    ]
    assert np.frombuffer(answer.body[length:], "<f4").tolist() == np.array(expected, np.float32).tolist()


def _wrong() -> dict[str, dict[str, Any]]:
    """Name → keyword arguments of `infer`, `inputs` among them."""
    return {
        "no input": {"inputs": []},
        "two inputs": {"inputs": [tensor(), tensor()]},
        "another name": {"inputs": [tensor(name="x")]},
        "a datatype": {"inputs": [tensor(datatype="INT64")]},
        "too short": {"inputs": [tensor(shape=[2, 4, 6, 3])]},
        "no batch": {"inputs": [tensor(shape=[8, 5, 3])]},
        "nothing": {"inputs": [tensor(shape=[0, 4, 5, 3], data=[])]},
        "negative": {"inputs": [tensor(shape=[-2, -4, 5, 3])]},
        "endless": {"inputs": [tensor(shape=[1, 10**30, 5, 3])]},
        "no shape": {"inputs": [tensor(shape=[])]},
        "deep": {"inputs": [tensor(shape=[1] * 900)]},
        "256": {"inputs": [tensor(data=[256] * BATCH.size)]},
        "below 0": {"inputs": [tensor(data=[-1] * BATCH.size)]},
        "words": {"inputs": [tensor(data=["1"] * BATCH.size)]},
        "no data": {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]},
        "ragged": {"inputs": [tensor(data=[[1], 2])]},
        "too many": {"inputs": [tensor(shape=[4, 1, 1, 3], data=[0] * 12)]},
        "too many files": {"inputs": [files(*[png()] * 4)]},
        "too large": {"inputs": [tensor(shape=[1, 101, 100, 3], data=[0] * 30300)]},
        "no base64": {"inputs": [files(png(), data=["http://10.0.0.1/x.png"])]},
        "miscounted": {"inputs": [files(png(), shape=[2])]},
        "an output": {"inputs": [tensor()], "outputs": [{"name": "logits"}]},
        "an output twice": {"inputs": [tensor()], "outputs": [{"name": "label"}, {"name": "label"}]},
        "more files than said": {"inputs": [files(*[png()] * 4, shape=[1])]},
        "classes": {"inputs": [tensor()], "outputs": [{"name": "label", "parameters": {"classification": 1}}]},
        "a size": {"inputs": [tensor(parameters={"binary_data_size": 4})], "behind": b"123"},
        "an element": {"inputs": [files(png(), parameters={"binary_data_size": 6})], "behind": b"\xff\xff\0\0ab"},
        "shared memory": {"inputs": [{"name": "image", "shape": [1], "datatype": "UINT8", "parameters": {"s": "r"}}]},
    }


@pytest.mark.parametrize("name", sorted(_wrong()))
def test_what_is_no_request_for_this_model_is_an_error_in_the_protocols_form(server: Server, name: str) -> None:
    given = _wrong()[name]
    answer = infer(server, *given.pop("inputs"), **given)
    assert answer.status == 400
    assert answer.json.keys() == {"error"}
    assert isinstance(answer.json["error"], str)
    assert "10.0.0.1" not in answer.json["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", png(), b"[" * 50_000, b'{"inputs": ' + b"[" * 50_000])
def test_what_is_no_json_is_an_error_in_the_protocols_form(server: Server, body: bytes) -> None:
    answer = server.ask("POST", f"{MODEL}/infer", body)
    assert (answer.status, list(answer.json)) == (400, ["error"])
    for length in ("x", "-1", "9" * 30, str(len(body) + 1), "\u0661"):
        assert server.ask("POST", f"{MODEL}/infer", body, Inference_Header_Content_Length=length).status == 400


def test_an_image_without_an_answer_is_named_by_its_place(server: Server) -> None:
    answer = infer(server, files(png(), b"no picture"))
    assert answer.status == 422
    assert answer.json["error"].startswith("image 2: ")
    one = infer(server, tensor(datatype="FP32"))
    assert (one.status, list(one.json)) == (422, ["error"])
    huge = infer(server, tensor(datatype="FP32", data=[1e300] * BATCH.size))
    assert huge.status == 422


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/another", 404),
        ("GET", "/v2/models/another/ready", 404),
        ("POST", "/v2/models/another/infer", 404),
        ("GET", "/v2/models/NAME", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2/", 404),
        ("GET", f"{MODEL}%0A", 404),
        ("GET", f"{MODEL}/versions/1", 404),
        ("GET", f"{MODEL}/infer", 405),
        ("POST", "/v2", 405),
    ],
)
def test_another_path_is_an_error_in_the_protocols_form(server: Server, method: str, path: str, status: int) -> None:
    answer = server.ask(method, path, png() if method == "POST" else None)
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert isinstance(answer.json["error"], str)
    assert "another" not in answer.json["error"]


def test_the_metrics_name_no_path_that_a_client_made_up(server: Server) -> None:
    server.ask("GET", "/v2/models/CANARY")
    metrics = server.ask("GET", "/metrics").body.decode()
    assert "CANARY" not in metrics
    assert 'route="/v2/models/NAME"' in metrics


def test_a_model_that_abstains_says_its_decisions(tmp_path: Path) -> None:
    model = tmp_path / "deciding.onnx"
    model.write_bytes(make_model(deciding_manifest()).SerializeToString())
    with serving(model) as server:
        images = [png(colour) for colour in COLOURS.values()]
        rows = [server.ask("POST", "/predict", image).json for image in images]
        found = outputs(infer(server, files(*images)))
    assert found["decision"] == [row["decision"] for row in rows]
    assert len(set(found["decision"])) == 3


def test_deep_pixels_come_as_their_own_datatype(tmp_path: Path) -> None:
    model = tmp_path / "deep.onnx"
    model.write_bytes(make_model(deep_manifest(dtype="uint16")).SerializeToString())
    batch = np.array([0, 4095, 300, 7] * 4, np.uint16).reshape(1, 4, 4, 1)
    given = {"name": "image", "shape": [1, 4, 4, 1], "datatype": "UINT16", "data": batch.ravel().tolist()}
    with serving(model) as server:
        told = server.ask("GET", MODEL).json["inputs"][0]
        found = outputs(infer(server, given))
    expected = Runtime.open(model).probabilities(batch)
    assert (told["datatype"], told["shape"]) == ("UINT16", [-1, -1, -1, 1])
    assert np.array_equal(np.array(found["probabilities"], np.float32), expected.ravel())


def test_with_a_token_nobody_else_learns_of_the_model_and_probes_need_none(bundled: Path) -> None:
    with serving(bundled, environment={"ZOO_SERVE_TOKEN": TOKEN}) as server:
        for path in ("", "/ready", "/infer"):
            for name in ("mean-colour", "another"):
                answer = server.ask("GET", f"/v2/models/{name}{path}")
                assert (answer.status, list(answer.json)) == (401, ["error"])
        for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            assert server.ask("GET", path).status == 200
        assert server.ask("GET", MODEL, Authorization=f"Bearer {TOKEN}").status == 200


def test_tritons_own_client_gets_the_answers_of_the_runtime(server: Server, bundled: Path) -> None:
    """It sends tensors behind the JSON unless told otherwise, and wants its answers so."""
    http = _triton()
    runtime = Runtime.open(bundled, threads=1)
    client = http.InferenceServerClient(f"127.0.0.1:{server.started['port']}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("mean-colour")
        assert not client.is_model_ready("another")
        assert client.get_server_metadata()["name"] == "zoo"
        metadata = client.get_model_metadata("mean-colour")
        given = http.InferInput(metadata["inputs"][0]["name"], BATCH.shape, metadata["inputs"][0]["datatype"])
        for binary in (True, False):
            given.set_data_from_numpy(BATCH, binary_data=binary)
            for outputs in (
                None,
                [http.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")],
            ):
                answer = client.infer("mean-colour", [given], outputs=outputs, request_id="7")
                assert np.array_equal(answer.as_numpy("probabilities"), runtime.probabilities(BATCH))
                labels = [text.decode() if isinstance(text, bytes) else text for text in answer.as_numpy("label")]
                assert labels == ["red", "green"]
                assert answer.get_response()["id"] == "7"
        image = http.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([png((0, 0, 255))], object))
        assert client.infer("mean-colour", [image]).as_numpy("label").tolist() == [b"blue"]
        image.set_data_from_numpy(np.array([b"no picture"], object))
        with pytest.raises(http.InferenceServerException) as refused:
            client.infer("mean-colour", [image])
        assert refused.value.status() == "422"
        assert refused.value.message().startswith("image 1: ")
    finally:
        client.close()


def _triton() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gevent's and the package's own
        return pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
