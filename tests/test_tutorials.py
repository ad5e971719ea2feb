"""Each page that teaches runs as it is printed: files are written, commands run, Python is executed, in their order."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from molvae.cli import app

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [*sorted(DOCS.glob("tutorials/*.md")), DOCS / "how-to/start-from-own-molecules.md", DOCS / "how-to/python.md"]
BLOCK = re.compile(r"(?:In\s`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block of code; the name of its file, where the line above it ends with "In `name`:"."""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(file name or nothing, language, text) of each block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def run(command: str) -> None:
    """A line of a page, in the current folder."""
    words = shlex.split(command, comments=True)
    if words[0] == "molvae":
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.stderr}"
    else:
        subprocess.run(["bash", "-c", command], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a busy machine; a minute each on an idle one without the compiled kernel
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "index"], ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_printed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = {"__name__": "__main__"}
    for file, language, text in blocks(page):
        if file:
            Path(file).write_text(text, encoding="utf-8")
        elif language == "bash":
            for command in text.replace("\\\n", " ").splitlines():
                if command.strip() and not command.startswith("#"):
                    run(command)
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)


def test_pages_that_teach_have_something_to_run():
    for page in PAGES:
        if page.stem != "index":
            assert any(language in ("bash", "python") for _, language, _ in blocks(page)), page
