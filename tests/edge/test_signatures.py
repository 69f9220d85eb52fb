"""A signature says who made a bundle, today and with every later release; each way it can be wrong has its own name."""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import make_bundle, make_manifest, make_model, seal
from refusals import refused

from zoo._support.files import sha256_file
from zoo.edge import Runtime, sign
from zoo.edge import verify as verify_apart
from zoo.edge.__main__ import main
from zoo.edge._explain import FileMapper
from zoo.edge.bundle import _keys as keys
from zoo.edge.bundle._keys import PASSPHRASE, new_key
from zoo.errors import ModelError, SignatureError, SigningKeyError, TamperedError, ZooError

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("cryptography", reason="signatures need cryptography: pip install 'edgezoo[sign]'")

verify = partial(verify_apart, isolated=False)  # a child process each time would take minutes; the commands start one
KEPT = Path(__file__).resolve().parents[1] / "fixtures" / "signatures"
REFUSED = sorted((KEPT / "refused").glob("*.json"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "site.key")
    return tmp_path / "site.key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("site.key.pub")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The bundle that was signed with release 0.1.0, to be spoilt."""
    return Path(shutil.copytree(KEPT / "small.zoo", tmp_path / "small.zoo"))


@pytest.mark.parametrize("name", ["small.zoo", "small.zoo.zip"])
def test_a_bundle_signed_with_an_older_release_verifies_for_ever(name: str) -> None:
    done = verify(KEPT / name, key=KEPT / "maker.pub", require_signature=True)
    assert (done.signed, done.images) == ("valid", 32)
    assert Runtime.open(KEPT / name, key=KEPT / "maker.pub").labels == tuple("0123456789")


def test_an_envelope_that_was_signed_with_an_older_release_verifies_for_ever(kept: Path) -> None:
    shutil.copy(KEPT / "envelope.json", kept / "signature.json")
    assert verify(kept, key=KEPT / "envelope.pub").signed == "valid"
    with refused("signature-key", SignatureError):
        verify(kept, key=KEPT / "maker.pub")


@pytest.mark.parametrize("name", ["small.zoo", "small.zoo.zip"])
def test_it_does_not_verify_with_a_strangers_key(name: str) -> None:
    with refused(
        "signature-key", SignatureError, found="e720385a1700da69836004b201933f753b85ce85f2634380ce758e3575152554"
    ):
        verify(KEPT / name, key=KEPT / "stranger.pub")
    with refused("signature-key", SignatureError):
        Runtime.open(KEPT / name, key=KEPT / "stranger.pub")


@pytest.mark.parametrize("spoilt", REFUSED, ids=lambda path: path.stem)
def test_a_signature_that_must_never_verify_is_refused_by_its_own_name(spoilt: Path, kept: Path) -> None:
    shutil.copy(spoilt, kept / "signature.json")
    with refused(f"signature-{spoilt.name.partition('-')[0]}", SignatureError) as caught:
        verify(kept, key=KEPT / "maker.pub")
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_there_are_refused_signatures_of_every_kind() -> None:
    kinds = {path.name.partition("-")[0] for path in REFUSED}
    assert kinds == {"key", "manifest", "invalid", "malformed"}


def test_every_bit_of_a_signature_counts(kept: Path) -> None:
    document = (kept / "signature.json").read_bytes()
    for position in range(document.index(b'"signature"') + 14, len(document) - 5, 11):
        changed = bytearray(document)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        (kept / "signature.json").write_bytes(changed)
        with pytest.raises(ZooError) as caught:
            verify(kept, key=KEPT / "maker.pub")
        assert caught.value.exit_code == 3


def test_every_byte_of_an_envelope_counts(kept: Path) -> None:
    """Of the parts that are not space: no change of the payload, the key or the signature goes unseen."""
    document = (KEPT / "envelope.json").read_bytes()
    for position in range(0, len(document), 7):
        if document[position : position + 1].isspace():
            continue
        changed = bytearray(document)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        (kept / "signature.json").write_bytes(changed)
        with pytest.raises(SignatureError):
            verify(kept, key=KEPT / "envelope.pub")


def test_what_stands_there_is_said_without_a_key(bundle: Path, key: Path) -> None:
    assert (verify(bundle).signed, verify(bundle).signer) == ("none", None)
    done = sign(bundle, key)
    found = verify(bundle)
    assert (found.signed, found.signer) == ("not checked", done.key)


def test_signed_bundles_open_with_and_without_a_key(bundle: Path, key: Path, public: Path) -> None:
    sign(bundle, key)
    assert Runtime.open(bundle).labels == Runtime.open(bundle, key=public).labels
    assert verify(bundle, key=public).signed == "valid"


def test_a_bundle_that_was_replaced_after_its_key_was_checked_is_not_run(bundle: Path, key: Path, public: Path) -> None:
    """`zoo explain --key` reads the file again to shuffle its weights."""
    sign(bundle, key)
    mapper = FileMapper(Runtime.open(bundle, key=public))
    mapper.shuffle(1)
    signed = Runtime.open(bundle).sha256
    shutil.rmtree(bundle)
    make_bundle(bundle, manifest=make_manifest(licence="another"))
    with refused("model-changed", ModelError, path=str(bundle)):
        mapper.shuffle(1)
    shutil.rmtree(bundle)
    forged = make_model(make_manifest(licence="another", files={"model.onnx": signed}))
    bundle.write_bytes(forged.SerializeToString())
    with refused("model-changed", ModelError):
        mapper.shuffle(1)


def test_a_lone_file_is_not_believed_about_its_own_hash(tmp_path: Path) -> None:
    forged = tmp_path / "forged.onnx"
    forged.write_bytes(make_model(make_manifest(files={"model.onnx": "0" * 64})).SerializeToString())
    assert Runtime.open(forged).sha256 == sha256_file(forged)


def test_a_signature_that_was_taken_off_is_missed(bundle: Path, key: Path, public: Path) -> None:
    sign(bundle, key)
    (bundle / "signature.json").unlink()
    with refused("signature-missing", SignatureError):
        verify(bundle, key=public)
    with refused("signature-missing", SignatureError):
        verify(bundle, require_signature=True)
    with refused("signature-missing", SignatureError):
        Runtime.open(bundle, key=public)
    assert verify(bundle).signed == "none"


def test_a_lone_file_is_not_opened_where_a_signature_is_asked_for(model_file: Path, public: Path) -> None:
    with refused("signature-missing", SignatureError):
        Runtime.open(model_file, key=public)


def test_an_old_signature_on_a_new_manifest_is_refused_even_without_a_key(
    bundle: Path, key: Path, public: Path
) -> None:
    sign(bundle, key)
    old = (bundle / "signature.json").read_bytes()
    (bundle / "signature.json").unlink()
    (bundle / "CARD.md").write_text("# another\n")
    seal(bundle)
    (bundle / "signature.json").write_bytes(old)
    for given in (public, None):
        with refused("signature-manifest", SignatureError):
            verify(bundle, key=given)


@pytest.mark.parametrize("name", ["CARD.md", "golden.npz", "model.onnx"])
def test_a_changed_file_under_a_good_signature_is_named(bundle: Path, key: Path, public: Path, name: str) -> None:
    sign(bundle, key)
    with (bundle / name).open("ab") as stream:
        stream.write(b"x")
    with refused("bundle-files", TamperedError, files=[name]):
        verify(bundle, key=public)
    with refused("bundle-files", TamperedError, files=[name]):
        Runtime.open(bundle, key=public)


def test_nothing_unsigned_is_parsed(bundle: Path, key: Path, public: Path) -> None:
    """A manifest made to break the reader never reaches it, once the bundle must be signed."""
    sign(bundle, key)
    (bundle / "manifest.json").write_bytes(b"[" * 100_000)
    with refused("signature-manifest", SignatureError):
        verify(bundle, key=public)


def test_a_manifest_can_not_list_its_own_signature(bundle: Path) -> None:
    (bundle / "signature.json").write_text("{}")
    seal(bundle)
    (bundle / "signature.json").unlink()
    with refused("bundle-files", TamperedError, files=["signature.json"]):
        verify(bundle)


def test_a_linked_signature_is_refused(bundle: Path, key: Path, tmp_path: Path) -> None:
    sign(bundle, key)
    (bundle / "signature.json").rename(tmp_path / "s.json")
    (bundle / "signature.json").symlink_to(tmp_path / "s.json")
    with pytest.raises(ModelError, match=r"signature\.json"):
        verify(bundle)


def test_signing_again_replaces_the_signature(bundle: Path, key: Path, public: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "next.key")
    sign(bundle, key)
    sign(bundle, tmp_path / "next.key")
    assert verify(bundle, key=tmp_path / "next.key.pub").signed == "valid"
    with refused("signature-key", SignatureError):
        verify(bundle, key=public)
    (bundle / "signature.json").write_text("not a signature")
    sign(bundle, key)
    assert verify(bundle, key=public).signed == "valid"


def test_signing_twice_gives_the_same_bytes(bundle: Path, key: Path) -> None:
    sign(bundle, key)
    first = (bundle / "signature.json").read_bytes()
    sign(bundle, key)
    assert (bundle / "signature.json").read_bytes() == first


def test_a_bundle_that_is_not_whole_is_not_signed(bundle: Path, key: Path) -> None:
    (bundle / "CARD.md").write_text("changed")
    with refused("bundle-files", TamperedError, files=["CARD.md"]):
        sign(bundle, key)
    assert not (bundle / "signature.json").exists()


def test_a_lone_file_can_not_be_signed(model_file: Path, key: Path) -> None:
    with refused("bundle-expected", ModelError):
        sign(model_file, key)


def test_a_key_is_private_and_never_replaced(key: Path, public: Path) -> None:
    if os.name == "posix":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes(), public.read_bytes()
    with refused("out-occupied", SigningKeyError):
        new_key(key)
    key.unlink()
    with refused("out-occupied", SigningKeyError):
        new_key(key)  # a new private half beside somebody's public one
    assert not key.exists()
    assert public.read_bytes() == before[1]


def test_a_locked_key_needs_its_passphrase(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    new_key(tmp_path / "locked.key")
    assert b"ENCRYPTED" in (tmp_path / "locked.key").read_bytes()
    sign(bundle, tmp_path / "locked.key")
    monkeypatch.setenv(PASSPHRASE, "wrong horse")
    with refused("key-passphrase", SigningKeyError):
        sign(bundle, tmp_path / "locked.key")
    monkeypatch.delenv(PASSPHRASE)
    with refused("key-locked", SigningKeyError):
        sign(bundle, tmp_path / "locked.key")
    assert verify(bundle, key=tmp_path / "locked.key.pub").signed == "valid"


def test_a_public_key_that_is_none_is_not_said_to_have_a_passphrase(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "card.pub").write_text("# a card\n")
    with refused("key-malformed", SigningKeyError, expected="public"):
        verify(bundle, key=tmp_path / "card.pub")


@pytest.mark.parametrize(
    ("first", "what"), [(b"\xff\xd8\xff\xe0", "a JPEG image"), (b"-----BEGIN PUBLIC KEY", "a key in PEM")]
)
def test_a_picture_or_a_key_in_the_place_of_the_model_is_named(tmp_path: Path, first: bytes, what: str) -> None:
    (tmp_path / "swapped").write_bytes(first + bytes(64))
    with refused("model-format", ModelError, found=what):
        Runtime.open(tmp_path / "swapped")


def test_what_is_no_key_is_refused_in_one_line(bundle: Path, key: Path, public: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "ec").write_bytes(other.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "ec.pub").write_bytes(
        other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "text").write_text("hello")
    (tmp_path / "large").write_bytes(b"-" * 100_000)
    for path in (public, tmp_path / "ec", tmp_path / "text", tmp_path / "large", tmp_path / "absent", tmp_path):
        with pytest.raises(SigningKeyError, match=path.name):
            sign(bundle, path)
    for path in (key, tmp_path / "ec.pub", tmp_path / "text", tmp_path / "large", tmp_path / "absent", tmp_path):
        with pytest.raises(SigningKeyError, match=path.name):
            verify(bundle, key=path)


def test_a_private_key_that_others_can_read_is_said(bundle: Path, key: Path, caplog: pytest.LogCaptureFixture) -> None:
    if os.name != "posix":
        pytest.skip("rights of a file are POSIX")
    key.chmod(0o644)
    sign(bundle, key)
    assert "chmod 600" in caplog.text


def test_openssl_agrees(bundle: Path, key: Path, public: Path, tmp_path: Path) -> None:
    """Nobody needs this tool to check a signature: what is signed is some lines of text."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    done = sign(bundle, key)
    found = json.loads((bundle / "signature.json").read_text())
    payload, kind = base64.b64decode(found["payload"]), found["payloadType"]
    (tmp_path / "said").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (tmp_path / "raw").write_bytes(base64.b64decode(found["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    command += ["-in", str(tmp_path / "said"), "-sigfile", str(tmp_path / "raw")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.startswith("Signature Verified")
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"], check=True, capture_output=True
    )
    from zoo._support.files import sha256_bytes

    assert sha256_bytes(der.stdout) == done.key


def test_an_independent_verifier_agrees_and_refuses_another_payload(bundle: Path, key: Path, public: Path) -> None:
    """Others' tools read the envelope (DSSE) and find in it which file it is about (in-toto)."""
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.exceptions import VerificationError

    done = sign(bundle, key)
    found = json.loads((bundle / "signature.json").read_text())
    theirs = signer.SSlibKey.from_crypto(load_pem_public_key(public.read_bytes()), keyid=done.key)
    envelope = dsse.Envelope.from_dict(copy.deepcopy(found))
    assert set(envelope.verify([theirs], threshold=1)) == {done.key}
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "manifest.json", "digest": {"sha256": done.manifest}}]
    for field, value in (("payload", envelope.payload.replace(b"manifest", b"Manifest")), ("payload_type", "text")):
        other = dsse.Envelope.from_dict(copy.deepcopy(found))
        setattr(other, field, value)
        with pytest.raises(VerificationError):
            other.verify([theirs], threshold=1)


SPOILT_ENVELOPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another payload type": lambda e: e | {"payloadType": "application/json"},
    "a payload of the first form": lambda e: e | {"payload": _base64(b"edgezoo bundle signature, version 1\n")},
    "a second subject": lambda e: e | {"payload": _base64(_said(e).replace(b"}}]", b'}},{"name":"x"}]'))},
    "a statement in other words": lambda e: e | {"payload": _base64(json.dumps(json.loads(_said(e))).encode())},
    "a payload that is not text": lambda e: e | {"payload": _base64(b"\xff\xfe")},
    "a payload without padding": lambda e: e | {"payload": e["payload"].rstrip("=") + "x"},
    "no signature": lambda e: e | {"signatures": []},
    "two signatures": lambda e: e | {"signatures": e["signatures"] * 2},
    "a signature cut off": lambda e: e | {"signatures": [e["signatures"][0] | {"sig": e["signatures"][0]["sig"][:-4]}]},
    "a key in capitals": lambda e: e | {"signatures": [e["signatures"][0] | {"keyid": "A" * 64}]},
    "a field more": lambda e: e | {"certificate": ""},
    "no payload": lambda e: {name: e[name] for name in ("payloadType", "signatures")},
    "a list": lambda e: [e],
}


def _said(envelope: dict[str, Any]) -> bytes:
    return base64.b64decode(envelope["payload"])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("spoil", SPOILT_ENVELOPES.values(), ids=SPOILT_ENVELOPES)
def test_an_envelope_that_is_not_as_we_write_it_is_refused(
    bundle: Path, key: Path, public: Path, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    sign(bundle, key)
    path = bundle / "signature.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    for given in (public, None):
        with refused("signature-malformed", SignatureError):
            verify(bundle, key=given)


def test_a_key_that_an_envelope_gives_twice_is_refused(bundle: Path, key: Path, public: Path) -> None:
    sign(bundle, key)
    path = bundle / "signature.json"
    once = path.read_text()
    entry = once.index('"keyid"')
    path.write_text(f'{once[:entry]}"keyid": "{"0" * 64}", {once[entry:]}')
    with refused("signature-malformed", SignatureError):
        verify(bundle, key=public)


def test_a_signature_over_the_bare_payload_is_not_one_of_the_envelope(bundle: Path, key: Path, public: Path) -> None:
    """The payload's type is signed too, else a signature of other tools could be carried over."""
    from zoo.edge.bundle._keys import private_key

    sign(bundle, key)
    path = bundle / "signature.json"
    found = json.loads(path.read_text())
    found["signatures"][0]["sig"] = _base64(private_key(key).sign(_said(found)))
    path.write_text(json.dumps(found))
    with refused("signature-invalid", SignatureError):
        verify(bundle, key=public)


def test_without_cryptography_the_extra_is_named_and_signed_bundles_still_open(kept: Path) -> None:
    script = """
import sys
sys.modules["cryptography"] = None
from zoo.edge import Runtime, verify
from zoo.errors import ZooError
assert verify(sys.argv[1]).signed == "not checked"
try:
    Runtime.open(sys.argv[1], key=sys.argv[2])
except ZooError as problem:
    assert "edgezoo[sign]" in str(problem), problem
else:
    raise SystemExit("opened without a check")
"""
    subprocess.run([sys.executable, "-c", script, str(kept), str(KEPT / "maker.pub")], check=True)


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `python -m zoo.edge`: exit status, stdout, stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_the_device_checks_signatures_too(
    bundle: Path, key: Path, public: Path, ran: Callable[..., tuple[int, str, str]]
) -> None:
    assert ran("verify", bundle, "--key", public)[0] == 3
    assert ran("verify", bundle, "--require-signature")[0] == 3
    sign(bundle, key)
    code, out, _ = ran("verify", bundle, "--key", public, "--json")
    assert (code, json.loads(out)["signed"]) == (0, "valid")
    code, out, _ = ran("verify", bundle, "--json")
    assert (code, json.loads(out)["signed"]) == (0, "not checked")
    for verb in ("predict", "explain"):
        assert ran(verb, bundle, bundle, "--key", KEPT / "maker.pub")[0] == 3


def test_a_forged_signature_is_not_the_makers(kept: Path) -> None:
    """All three lines right but the one that cannot be made without the key."""
    found = json.loads((kept / "signature.json").read_text())
    found["signature"] = found["signature"][:8] + "AAAA" + found["signature"][12:]
    (kept / "signature.json").write_text(json.dumps(found))
    with refused("signature-invalid", SignatureError):
        verify(kept, key=KEPT / "maker.pub")


@pytest.mark.parametrize("y", sorted(keys._SMALL | {keys._PRIME, keys._PRIME + 1}))
@pytest.mark.parametrize("negative", [0, 2**255])
def test_a_key_that_anybody_can_sign_for_is_refused(tmp_path: Path, y: int, negative: int) -> None:
    """Signatures by a point of small order are found by guessing, and such a file names no signer."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    point = Ed25519PublicKey.from_public_bytes((y + negative).to_bytes(32, "little"))
    (tmp_path / "weak.pub").write_bytes(point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with refused("key-weak", SigningKeyError):
        keys.public_key(tmp_path / "weak.pub")


def test_the_points_of_small_order_are_those_of_the_curve() -> None:
    prime, d = keys._PRIME, -121665 * pow(121666, -1, keys._PRIME)
    eighths = keys._SMALL - {0, 1, prime - 1}
    assert len(eighths) == 2
    assert all((2 * y * y - 1 + d * y**4) % prime == 0 for y in eighths)
