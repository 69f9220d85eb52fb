"""`zoo explain`: heat maps, as pictures and as numbers. Needs no training framework, except for --gradcam."""

from __future__ import annotations

from zoo.edge import _explain_verb
from zoo_cli.device import command

__all__ = ["explain"]

explain = command(_explain_verb.explain)
