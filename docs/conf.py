"""How Sphinx builds this documentation: `bash scripts/docs.sh`. Pages are plain Markdown, those of reference/ mostly
written from the code.
"""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

import reference  # noqa: E402 (it lies among the scripts)

reference.write(HERE / "reference")

project = "molvae"
author = copyright = "The molvae developers"
version = release = version_of("molvae")
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "pydata_sphinx_theme"
html_title = "molvae"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}


def name_of_file(found):
    """What stands on the site for a link to a file that the site does not hold."""
    text, path = found.groups()
    return f"`{path}`" if text in path else f"{text} (`{path}`)"


def plain(app, docname, source):
    """Pages need no directives: what an index page lists are its contents, and links may leave docs/."""
    out = r"\.\./" * (docname.count("/") + 1)
    source[0] = re.sub(rf"\[([^\]]*)\]\({out}(?!\.\.)([^)#]*)\)", name_of_file, source[0])
    if docname.endswith("index"):
        listed = re.findall(r"^- \[[^\]]*\]\(([^)#]+)\.md\)", source[0], re.MULTILINE)
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *listed, "```", ""])


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", plain)
