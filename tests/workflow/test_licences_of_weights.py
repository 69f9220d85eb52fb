"""A training says under which licence other people's weights are, before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo import registry
from zoo.spec import Budget
from zoo.store.weights import ResolvedWeights
from zoo.workflow import _begin


@pytest.mark.parametrize(
    ("source", "licence", "said"),
    [
        ("hf-hub:timm/convnextv2_atto", "cc-by-nc-4.0", ["cc-by-nc-4.0, not for commercial use"]),
        ("package:some/net.pth@0123456789", "apache-2.0", ["package:some/net.pth: licence apache-2.0"]),
        ("file:own.safetensors", "unknown", []),
    ],
)
def test_the_licence_is_a_note_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, licence: str, said: list[str]
) -> None:
    weights = ResolvedWeights(tmp_path / "weights.safetensors", source, "0" * 64, licence)
    monkeypatch.setattr(_begin, "resolve_weights", lambda *_: weights)
    card = registry.find("convnextv2_atto")
    plan = _begin.prepare(card, registry.load(card.plugin), "digits", Budget(pretrained=True, epochs=1))
    notes = [note for note in plan.record.notes if "pretrained weights " in note and "recipe" not in note]
    assert len(notes) == len(said)
    assert all(note.endswith(end) for note, end in zip(notes, said, strict=True))
