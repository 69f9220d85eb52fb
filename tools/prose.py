"""Measure the prose of the pages, and the names and comments of the code.

    python tools/prose.py                  # README.md and docs/: exit 1 when a page is over a bar
    python tools/prose.py code             # zoo/, cli/ and plugins/: counts; exit 1 only over a bar that is given
    python tools/prose.py code --list      # the same, with file and line of each finding

Pages. The script leaves out fenced and indented code, tables, headings, HTML comments and mkdocstrings directives. It
leaves out a page whose comment says that a script wrote it ("do not edit"). Each list item begins a sentence; a middle
dot between links ends one. Inline code is one word. A fragment of one or two words is not a sentence. Banned phrases
count in tables and headings, too.

Code. A function of a module is named by a participle when the first word of its name ends in "-ed" and is not in
`VERBS_IN_ED`, or is in `IRREGULAR`. Forms that are verb and participle at once (read, put, set, split, cut, run) are
taken for verbs. A phrase counts in comments, docstrings and every other string with a space in it. An argument line
of a docstring has no noun when it begins with a word of `BARE`.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/*.md", "docs/decisions/*.md", "docs/reference/*.md", "examples/README.md")
PACKAGES = ("zoo", "cli", "plugins")

MEAN_WORDS = 15.0
"""Most words a sentence of a page may have on average; httpx's quick start has 14.3."""
LONGEST = 35
"""Most words of one sentence."""

BANNED = {
    "can not": r"\bcan not\b",
    "is no": r"\b(?:is|are) no\b",
    "go on with": r"\b(?:go|goes|going|gone|went) on\b",
    "stands": r"\b(?:stand|stands|stood)\b",
    "likewise": r"\blikewise\b",
}
"""Phrase, and the pattern that finds it. Each stops a reader who is not at home in English."""

VERBS_IN_ED = frozenset(
    {"bed", "bleed", "breed", "embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed"}
)
"""Words that end in "-ed" and are verbs or nouns of their own."""

IRREGULAR = re.compile(
    r"beaten|begun|bought|broken|brought|built|caught|chosen|dealt|done|drawn|driven|fallen|"
    r"felt|found|frozen|given|gone|got|gotten|grown|held|hidden|hung|kept|known|laid|learnt|"
    r"led|left|lent|lost|made|meant|met|paid|proven|said|seen|sent|shown|sold|spelt|spent|"
    r"spoken|stolen|sunk|taken|taught|thought|thrown|told|torn|understood|unread|unseen|"
    r"unspent|unwritten|woken|won|worn|written"
)
"""Participles without "-ed"."""

BARE = re.compile(r"(?:of|likewise|as|the same|ditto|see)\b")
"""How the text of an argument begins when it names nothing."""

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]”]*\s+(?=[\"'(\[“]*[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs|cf|No|etc|Fig|eq|al)\.", re.IGNORECASE)
_ARGUMENT = re.compile(r"^\s+\*{0,2}(\w+)(?: \([^)]*\))?: (.+)$")


@dataclass
class Page:
    """What was measured of one page."""

    name: str
    sentences: list[str] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)

    @property
    def words(self) -> int:
        """Number of words in all sentences."""
        return sum(map(count_words, self.sentences))

    @property
    def mean(self) -> float:
        """Mean number of words a sentence; 0 for a page without sentences."""
        return self.words / len(self.sentences) if self.sentences else 0.0

    @property
    def longest(self) -> int:
        """Number of words of the longest sentence."""
        return max(map(count_words, self.sentences), default=0)

    def faults(self) -> list[str]:
        """Every bar that the page is over, in words."""
        found = []
        if self.mean > MEAN_WORDS:
            found.append(f"{self.name}: {self.mean:.1f} words a sentence, at most {MEAN_WORDS:.0f} are allowed")
        found += [
            f"{self.name}: {words} words, at most {LONGEST} are allowed: {sentence}"
            for sentence in self.sentences
            if (words := count_words(sentence)) > LONGEST
        ]
        return found + [f"{self.name}: {phrase}" for phrase in self.phrases]


@dataclass(frozen=True)
class Finding:
    """One place in the code."""

    kind: str
    place: str
    text: str


def count_words(sentence: str) -> int:
    """Number of blank-separated pieces that hold a letter or a digit."""
    return sum(any(letter.isalnum() for letter in piece) for piece in sentence.split())


def is_generated(text: str) -> bool:
    """Whether a comment of the page says that a script wrote it."""
    return any("do not edit" in comment for comment in re.findall(r"<!--.*?-->", text, re.DOTALL))


def drop_code(text: str) -> str:
    """A page without HTML comments, fenced code and indented code; blank lines take their place."""
    kept: list[str] = []
    fence = ""
    in_list = False
    for line in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).splitlines():
        mark = _FENCE.match(line)
        blank = not kept or not kept[-1].strip()
        if fence:
            fence = "" if mark and line.strip() == fence else fence
            kept.append("")
        elif mark:
            fence = mark[1]
            kept.append("")
        elif line.startswith("    ") and blank and not in_list:
            kept.append("")
        else:
            in_list = bool(_ITEM.match(line)) or (in_list and (not line.strip() or line.startswith(" ")))
            kept.append(line)
    return "\n".join(kept)


def split_paragraphs(text: str) -> list[str]:
    """Paragraphs and list items of a page, each on one line, without what the module's docstring leaves out."""
    paragraphs: list[str] = [""]
    for line in drop_code(text).splitlines():
        if not line.strip() or line.lstrip().startswith(("#", ":::", "|")):
            paragraphs.append("")
        elif item := _ITEM.match(line):
            paragraphs.append(line[item.end() :])
        else:
            paragraphs[-1] = f"{paragraphs[-1]} {line.strip()}".strip()
    return [paragraph for paragraph in paragraphs if paragraph]


def split_sentences(paragraph: str) -> list[str]:
    """Sentences of a paragraph with at least three words each; inline code is the word `Code`."""
    plain = re.sub(r"`[^`]+`", "Code", paragraph)
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    plain = re.sub(r"[*]{1,2}", "", plain)
    plain = _ABBREVIATION.sub(r"\1", plain)
    pieces = [piece.strip() for part in plain.split(" · ") for piece in _SENTENCE.split(part)]
    return [piece for piece in pieces if count_words(piece) >= 3]


def find_phrases(text: str) -> list[tuple[str, str]]:
    """Each banned phrase in a text, and the words around it, also across line ends."""
    plain = " ".join(text.split())
    return [
        (name, plain[max(0, found.start() - 30) : found.end() + 30])
        for name, pattern in BANNED.items()
        for found in re.finditer(pattern, plain, re.IGNORECASE)
    ]


def measure_page(name: str, text: str) -> Page:
    """Sentences and banned phrases of one page."""
    page = Page(name)
    for paragraph in split_paragraphs(text):
        page.sentences += split_sentences(paragraph)
    plain = re.sub(r"`[^`\n]+`", "", drop_code(text))
    page.phrases = [f'"{phrase}" in: …{around}…' for phrase, around in find_phrases(plain)]
    return page


def measure_pages(root: Path, names: Iterable[str] = PAGES) -> list[Page]:
    """Every page that a pattern of `names` finds below `root`, generated ones left out."""
    pages = []
    for path in [path for name in names for path in sorted(root.glob(name))]:
        text = path.read_text(encoding="utf-8")
        if not is_generated(text):
            pages.append(measure_page(path.relative_to(root).as_posix(), text))
    return pages


def is_participle(name: str) -> bool:
    """Whether a function's name begins with a participle."""
    first = name.strip("_").split("_")[0].lower()
    return IRREGULAR.fullmatch(first) is not None or (first.endswith("ed") and first not in VERBS_IN_ED)


def find_in_code(path: str, source: str) -> Iterator[Finding]:
    """Participles, banned phrases and argument lines without a noun in one module."""
    tree = ast.parse(source)
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(statement.name):
            yield Finding("participle", f"{path}:{statement.lineno}", statement.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for phrase, around in find_phrases(node.value):
                yield Finding("phrase", f"{path}:{node.lineno}", f"{phrase}: {around}")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for argument in find_bare_arguments(ast.get_docstring(node) or ""):
                yield Finding("argument", f"{path}:{node.lineno}", argument)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            for phrase, around in find_phrases(token.string):
                yield Finding("phrase", f"{path}:{token.start[0]}", f"{phrase}: {around}")


def find_bare_arguments(docstring: str) -> list[str]:
    """Lines of a docstring's "Args:" that describe an argument without naming a thing."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    lines = section[1].splitlines() if section else []
    return [line.strip() for line in lines if (found := _ARGUMENT.match(line)) and BARE.match(found[2])]


def report_pages(root: Path, names: Iterable[str]) -> int:
    """Print the table of the pages and their faults; 1 when there is a fault."""
    pages = measure_pages(root, names)
    every = Page("all", [s for page in pages for s in page.sentences], [p for page in pages for p in page.phrases])
    width = max(len(page.name) for page in [*pages, every])
    say(f"{'page':{width}}  sentences  mean  longest  banned")
    for page in [*pages, every]:
        numbers = f"{len(page.sentences):9}  {page.mean:4.1f}  {page.longest:7}  {len(page.phrases):6}"
        say(f"{page.name:{width}}  {numbers}")
    faults = [fault for page in pages for fault in page.faults()]
    if every.mean > MEAN_WORDS:
        faults.append(f"all pages: {every.mean:.1f} words a sentence, at most {MEAN_WORDS:.0f} are allowed")
    for fault in faults:
        say(fault)
    return int(bool(faults))


def report_code(root: Path, bars: dict[str, int | None], *, names_each: bool) -> int:
    """Print the counts of the code; 1 when one is over its bar."""
    say(f"{'package':8}  participle  phrase  argument")
    every: list[Finding] = []
    for package in PACKAGES:
        found = [
            finding
            for path in sorted((root / package).rglob("*.py"))
            for finding in find_in_code(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        ]
        every += found
        say(f"{package:8}  {_row(found)}")
    say(f"{'all':8}  {_row(every)}")
    if names_each:
        for finding in every:
            say(f"{finding.place}: {finding.kind}: {finding.text}")
    over = {kind: bar for kind, bar in bars.items() if bar is not None and _count(every, kind) > bar}
    for kind, bar in over.items():
        say(f"{kind}: {_count(every, kind)} found, at most {bar} are allowed; 'code --list' names them")
    return int(bool(over))


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two modes; the exit status."""
    parser = argparse.ArgumentParser(description="Measure the prose of pages, or the names and comments of the code.")
    parser.add_argument("mode", nargs="?", choices=["docs", "code"], default="docs")
    parser.add_argument("--list", action="store_true", help="name file and line of each finding (code)")
    parser.add_argument("--pages", nargs="+", default=list(PAGES), help="patterns of pages (docs)")
    for kind in ("participle", "phrase", "argument"):
        parser.add_argument(f"--{kind}s", type=int, help=f"most findings of kind {kind} that are allowed (code)")
    given = parser.parse_args(arguments)
    if given.mode == "docs":
        return report_pages(ROOT, given.pages)
    bars = {"participle": given.participles, "phrase": given.phrases, "argument": given.arguments}
    return report_code(ROOT, bars, names_each=given.list)


def say(line: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{line}\n")


def _count(findings: Iterable[Finding], kind: str) -> int:
    return sum(finding.kind == kind for finding in findings)


def _row(findings: list[Finding]) -> str:
    return f"{_count(findings, 'participle'):10}  {_count(findings, 'phrase'):6}  {_count(findings, 'argument'):8}"


if __name__ == "__main__":
    sys.exit(main())
