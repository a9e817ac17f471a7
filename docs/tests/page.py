"""The page for Parsl's user guide, and the code on it."""
from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
PAGE = DOCS / "userguide/configuration/executors/globus_compute_multi.rst"

#: Languages of code blocks that ``integration/test_code.py`` runs or checks.
KINDS = frozenset({"python", "bash", "text", "yaml+jinja"})


@dataclass(frozen=True)
class Block:
    """A code block.

    Parameters
    ----------
    kind : str
        Its language; what kind of node it is, if it has none.
    caption : str
        Name of the file that it is the whole text of, or empty.
    text : str
    line : int
        Line of the page on which its first line stands, from 1.
    """

    kind: str
    caption: str
    text: str
    line: int


def read_blocks(page: Path, scratch: Path) -> list[Block]:
    """The code blocks of a page, in order, whatever directive or markup makes them.

    Parameters
    ----------
    page : Path
        In reStructuredText. Nothing else is read, so references to other pages do not matter.
    scratch : Path
        Folder for Sphinx's files.
    """
    app = Sphinx(page.parent, None, scratch, scratch, "dummy", {"root_doc": page.stem}, status=None, warning=StringIO())
    app.build()
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks = []
    for node in app.env.get_doctree(page.stem).findall(nodes.FixedTextElement):
        if isinstance(node, (nodes.literal_block, nodes.doctest_block)):
            caption = "".join(sibling.astext() for sibling in node.parent.children if isinstance(sibling, nodes.caption))
            text = node.astext()
            first, begin = text.split("\n", 1)[0].strip(), node.line or 1
            # after the directive's name come its options
            line = next((number for number, found in enumerate(lines[begin - 1:], begin) if found.strip() == first), begin)
            blocks.append(Block(node.get("language", node.tagname), caption, text + "\n", line))
    return blocks


def one_script(blocks: list[Block]) -> str:
    """The blocks as one script, in which each line has the number that it has on the page, for tracebacks."""
    script = ""
    for block in blocks:
        script += "\n" * (block.line - 1 - script.count("\n")) + block.text
    return script
