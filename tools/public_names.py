"""An import-linter contract: some packages may import public modules only, those without a leading underscore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph

__all__ = ["PublicNames"]


class PublicNames(Contract):
    """Refuses an import of `PACKAGE.…_private…` by one of the packages `importers`."""

    importers = fields.ListField(subfield=fields.StringField())
    package = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Every import from one of `importers` into a private module of `package`, with its line."""
        del verbose
        found = []
        for importer in sorted(graph.modules):
            if importer.split(".", 1)[0] not in self.importers:
                continue
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                top, *rest = imported.split(".")
                if top == self.package and any(name.startswith("_") for name in rest):
                    lines = [i["line_number"] for i in graph.get_import_details(importer=importer, imported=imported)]
                    found.append(f"{importer} line {lines[0] if lines else '?'}: {imported} is private")
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import."""
        for line in check.metadata["found"]:
            output.print_error(f"{line}; import a public name of {self.package}, or make it public")
