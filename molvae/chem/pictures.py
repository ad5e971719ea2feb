"""Molecules drawn: a grid with captions as .svg, .png or .html, and small drawings for pages."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from rdkit import Chem
from rdkit.Chem import rdDepictor, rdFMCS
from rdkit.Chem.Draw import rdMolDraw2D

from molvae.arguments import checked
from molvae.chem.molecule import Molecule
from molvae.errors import UsageError
from molvae.folders import write_atomic

PICTURES: Final = (".png", ".svg", ".html")
MOST: Final = 500
"""Molecules of the largest picture."""
COLUMNS, WIDTH, HEIGHT = 5, 260, 220
"""Molecules in a row of the grid; pixels of each."""
CORE_ATOMS, CORE_SECONDS = 4, 2
"""A common core of fewer atoms does not turn a molecule; the search for it ends after so many seconds."""
SMALLEST_LETTER: Final = 10
"""Pixels of the letters in small drawings, at least; charges are two thirds as high."""

_PATH: Final = re.compile(r"<path (?:class='[^']*' )?d='([^']*)' style='([^']*)'\s*/>")
_TEXT: Final = re.compile(r"<text [^>]*>[^<]*</text>")
_AS_ALWAYS: Final = re.compile(
    r";?(fill-rule:evenodd|stroke-(linecap|linejoin|opacity|miterlimit):\w+|font-(style|weight):normal|fill-opacity:1"
    r"|text-anchor:start)|\.0(?=px)"
)
_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 14px system-ui, sans-serif; margin: 1.5rem; background: light-dark(#fff, #16181d);
  color: light-dark(#1b1d22, #e6e7ea) }}
h1 {{ font-size: 1.2rem }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax({width}px, 1fr)); gap: 12px }}
figure {{ margin: 0; padding: 10px; border: 1px solid light-dark(#d5d7dc, #3a3d45); border-radius: 8px }}
figure svg {{ background: #fff; border-radius: 6px; display: block; width: 100%; height: auto }}
figcaption {{ margin-top: 6px; white-space: pre-line }}
code {{ display: block; margin-top: 4px; font-size: 11px; overflow-wrap: anywhere; opacity: .75 }}
</style>
<h1>{title}</h1>
<main>
{cards}
</main>
</html>
"""


def check_picture(path: str | Path, molecules: int = 0) -> str:
    """The ending of a picture to be written: to be asked before the work that fills it.

    Raises:
        UsageError: `write_picture` does not know the ending, or would refuse so many molecules.
    """
    ending = Path(path).suffix.lower()
    if ending not in PICTURES:
        raise UsageError(f"{path}: pictures are written as {', '.join(PICTURES)}; {ending or 'no ending'} is none")
    if molecules > MOST:
        raise UsageError(
            f"{path}: a picture shows at most {MOST} molecules, not {molecules}; write a table such as .csv"
        )
    return ending


@checked
def write_picture(
    path: str | Path,
    molecules: Sequence[Molecule],
    captions: Sequence[str],
    title: str = "",
    turned_like: Literal["first", "previous"] = "first",
) -> None:
    """Draw molecules in a grid, five in a row, with a caption below each; all or nothing.

    Each is laid out on the common core it has with another, so that what changes is seen and what stays, stays.

    Args:
        path: ``.png``, ``.svg`` or ``.html`` (a page for itself, which shows the SMILES and the title, too).
        molecules: 1 to 500.
        captions: one each; may have several lines.
        title: of the page.
        turned_like: whose layout each follows, the first molecule's or that of the one before it.

    Raises:
        UsageError: another ending, too many molecules, or none.
        FolderError: the file cannot be written.
    """
    ending = check_picture(path, len(molecules))
    if not molecules:
        raise UsageError(f"{path}: there is no molecule to draw")
    mols: list[Any] = []
    for molecule in molecules:
        mols.append(_laid_out(molecule, mols[0 if turned_like == "first" else -1] if mols else None))
    if ending == ".html":
        write_atomic(path, _page(mols, molecules, captions, title))
    else:
        write_atomic(path, grid(mols, captions, ending))


def grid(mols: Sequence[Any], captions: Sequence[str], ending: str) -> str | bytes:
    """RDKit molecules in rows of five, as the text of an SVG or the bytes of a PNG."""
    columns = min(COLUMNS, len(mols))
    size = columns * WIDTH, -(-len(mols) // columns) * HEIGHT, WIDTH, HEIGHT
    drawing = rdMolDraw2D.MolDraw2DSVG(*size) if ending == ".svg" else rdMolDraw2D.MolDraw2DCairo(*size)
    drawing.drawOptions().legendFontSize = 18
    drawing.drawOptions().legendFraction = 0.2
    drawing.DrawMolecules([Chem.Mol(mol) for mol in mols], legends=list(captions))
    drawing.FinishDrawing()
    text: str | bytes = drawing.GetDrawingText()
    return text


def small_svg(mol: Any, width: int = WIDTH, height: int = HEIGHT) -> str:
    """An RDKit molecule as an SVG element of a few kilobytes, without a background."""
    drawing = rdMolDraw2D.MolDraw2DSVG(width, height, -1, -1, True)  # letters as text, not as outlines
    drawing.drawOptions().clearBackground = False
    drawing.drawOptions().minFontSize = SMALLEST_LETTER
    drawing.drawOptions().bondLineWidth = 1.2  # the sign of a charge may lie close above a bond
    rdMolDraw2D.PrepareAndDrawMolecule(drawing, mol)
    drawing.FinishDrawing()
    text = drawing.GetDrawingText()
    strokes: dict[str, list[str]] = {}
    for shape, style in _PATH.findall(text):  # one path for each look, not one for each bond: half of the text
        strokes.setdefault(_AS_ALWAYS.sub("", style), []).append(shape.strip().replace(" L ", "L").replace("M ", "M"))
    paths = [f"<path style='{style}' d='{''.join(shapes)}'/>" for style, shapes in strokes.items()]
    letters = [_AS_ALWAYS.sub("", letter).replace("' >", "'>").replace(">-<", ">−<") for letter in _TEXT.findall(text)]
    body = "".join([*paths, *letters])
    return f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">{body}</svg>'


def _laid_out(molecule: Molecule, like: Any) -> Any:
    """A copy with coordinates; the largest part that it shares with ``like`` lies as it does there."""
    mol = Chem.Mol(molecule.mol)
    rdDepictor.Compute2DCoords(mol)
    if like is None:
        return mol
    found = rdFMCS.FindMCS([like, mol], ringMatchesRingOnly=True, completeRingsOnly=True, timeout=CORE_SECONDS)
    if found.canceled or found.numAtoms < CORE_ATOMS:
        return mol
    pairs = zip(like.GetSubstructMatch(found.queryMol), mol.GetSubstructMatch(found.queryMol), strict=True)
    rdDepictor.GenerateDepictionMatching2DStructure(mol, like, list(pairs))
    return mol


def _page(mols: Sequence[Any], molecules: Sequence[Molecule], captions: Sequence[str], title: str) -> str:
    cards = [
        f"<figure>{small_svg(mol)}<figcaption>{html.escape(caption)}</figcaption><code>{html.escape(str(molecule))}"
        "</code></figure>"
        for mol, molecule, caption in zip(mols, molecules, captions, strict=True)
    ]
    return _PAGE.format(title=html.escape(title or "Molecules"), width=WIDTH, cards="\n".join(cards))
