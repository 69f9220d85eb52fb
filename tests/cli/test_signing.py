"""`zoo sign` and what the other verbs say of a signature; each refusal has its own type in the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("cryptography", reason="signatures need cryptography: pip install 'edgezoo[sign]'")


@pytest.fixture
def signed(copied: Callable[[str], Path]) -> Path:
    """tiny.zoo in the working directory, signed with site.key."""
    bundle = copied("tiny.zoo")
    assert run_zoo("sign", "--new-key", "site.key").code == 0
    assert run_zoo("sign", "tiny.zoo", "--key", "site.key").code == 0
    return bundle


def test_a_key_is_made_a_bundle_signed_and_verified(copied: Callable[[str], Path]) -> None:
    bundle = copied("tiny.zoo")
    made = run_zoo("sign", "--new-key", "site.key", "--json")
    assert made.code == 0
    assert "ZOO_KEY_PASSPHRASE" in made.err
    done = run_zoo("sign", bundle, "--key", "site.key", "--json")
    assert done.document["key"] == made.document["key"]
    verified = run_zoo("verify", bundle, "--key", "site.key.pub", "--require-signature", "--json").document
    assert (verified["signed"], verified["signer"]) == ("valid", made.document["key"])
    assert f"valid, by key {made.document['key'][:8]}" in run_zoo("verify", bundle, "--key", "site.key.pub").out


def test_the_next_command_can_be_pasted_whatever_the_name(copied: Callable[[str], Path]) -> None:
    bundle = copied("tiny.zoo")
    named = bundle.rename(bundle.with_name("mein Modell ü.zoo"))
    assert '--key "my key"' in run_zoo("sign", "--new-key", "my key").out
    said = " ".join(run_zoo("sign", named, "--key", "my key").out.split())
    assert f'zoo verify "{named.name}" --key "my key.pub"' in said


@pytest.mark.usefixtures("at_work")
def test_a_bundle_that_is_exported_again_is_told_its_ways() -> None:
    refused = run_zoo("export", "tiny.zoo", "--onnx", "--json")
    error = refused.document["error"]
    assert (refused.code, error["code"], error["path"]) == (2, "export-again", "tiny.zoo")
    assert "--web" in refused.err


@pytest.mark.usefixtures("at_work")
def test_verify_is_never_silent_about_a_signature() -> None:
    assert "not signed" in run_zoo("verify", "tiny.zoo").out
    assert run_zoo("verify", "tiny.zoo", "--json").document["signed"] == "none"


@pytest.mark.usefixtures("signed")
def test_a_signature_that_was_not_checked_is_said_so() -> None:
    said = " ".join(run_zoo("verify", "tiny.zoo").out.split())
    assert "not checked" in said
    assert "--key" in said


@pytest.mark.slow
@pytest.mark.usefixtures("signed")
def test_each_refusal_has_its_own_code() -> None:
    from pathlib import Path

    assert run_zoo("sign", "--new-key", "other.key").code == 0
    signature = Path("tiny.zoo/signature.json")
    good = signature.read_text()

    def verdict(key: str = "site.key.pub", *options: str) -> str:
        ran = run_zoo("verify", "tiny.zoo", "--key", key, *options, "--json")
        assert ran.code == 3
        assert ran.err.count("\n") == 1
        return str(ran.document["error"]["code"])

    assert verdict("other.key.pub") == "signature-key"
    signature.unlink()
    assert verdict() == "signature-missing"
    assert verdict("site.key.pub", "--require-signature") == "signature-missing"
    signature.write_text("{}")
    assert verdict() == "signature-malformed"
    signature.write_text(good)
    manifest = Path("tiny.zoo/manifest.json")
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b'"simple_cnn"', b'"simple_CNN"', 1))
    assert verdict() == "signature-manifest"
    manifest.write_bytes(whole)
    Path("tiny.zoo/CARD.md").write_text("better\n")
    assert verdict() == "bundle-files"


def test_predict_explain_and_evaluate_refuse_what_the_key_has_not_signed(signed: Path, workplace: Path) -> None:
    images = workplace / "images"
    bundle = workplace / "tiny.zoo"
    for verb in (("predict", bundle, images), ("explain", bundle, images), ("evaluate", bundle, "--data", "digits")):
        ran = run_zoo(*verb, "--key", "site.key.pub", "--json")
        assert ran.code == 3
        assert ran.document["error"]["code"] == "signature-missing"
    ran = run_zoo("predict", signed, images, "--key", "site.key.pub", "--json")
    assert (ran.code, len(ran.document)) == (0, 4)
    assert run_zoo("predict", workplace / "runs/tiny", images, "--key", "site.key.pub").code == 3


@pytest.mark.usefixtures("signed")
def test_info_says_what_a_bundle_says_of_itself_and_that_nobody_checked() -> None:
    said = run_zoo("info", "tiny.zoo").out
    for part in ("Not a medical", "macro AUROC", "no pretrained ones", "apache-2.0", "not checked"):
        assert part in " ".join(said.split())
    assert run_zoo("info", "tiny.zoo", "--json").document["provenance"]["model"] == "simple_cnn"


@pytest.mark.usefixtures("elsewhere")
def test_what_is_asked_for_must_be_clear() -> None:
    for arguments in (
        (),
        ("tiny.zoo",),
        ("--key", "a"),
        ("tiny.zoo", "--new-key", "a"),
        ("--new-key", "a", "--key", "b"),
    ):
        ran = run_zoo("sign", *arguments)
        assert ran.code == 2
        assert "--new-key" in ran.line


@pytest.mark.usefixtures("elsewhere")
def test_a_key_is_never_replaced() -> None:
    assert run_zoo("sign", "--new-key", "k").code == 0
    ran = run_zoo("sign", "--new-key", "k", "--json")
    assert (ran.code, ran.document["error"]["type"]) == (1, "SigningKeyError")


@pytest.mark.slow
def test_a_zip_is_exported_predicted_compared_and_replaced(at_work: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.zoo.zip"
    done = run_zoo("export", "--bundle", "--out", target, "--json")
    assert done.document["size_bytes"] == target.stat().st_size
    first = target.read_bytes()
    again = run_zoo("export", "--bundle", "--out", target, "--json")
    assert (again.code, again.document["error"]["code"]) == (1, "out-occupied")
    assert run_zoo("export", "--bundle", "--out", target, "--overwrite").code == 0
    assert target.read_bytes() == first
    rows = [run_zoo("predict", model, at_work / "images", "--json").document for model in (target, "tiny.zoo")]
    assert rows[0] == rows[1]
    judged = [run_zoo("evaluate", model, "--data", "digits", "--json").document for model in (target, "tiny.zoo")]
    assert judged[0] == judged[1]
    sizes = run_zoo("compare", target, "tiny.zoo", "--data", "digits", "--json").document["models"]
    assert len({model["size_bytes"] for model in sizes}) == 1


@pytest.mark.usefixtures("at_work")
def test_a_zip_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    import zipfile

    target = tmp_path / "photos.zoo.zip"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("holiday.jpg", b"mine")
    before = target.read_bytes()
    for option in ((), ("--overwrite",)):
        ran = run_zoo("export", "--bundle", "--out", target, "--json", *option)
        assert (ran.code, ran.document["error"]["type"]) == (1, "OutputError")
    assert target.read_bytes() == before
    (tmp_path / "x.zip").write_bytes(b"")
    assert run_zoo("export", "--bundle", "--out", tmp_path / "x.zip").code == 2
