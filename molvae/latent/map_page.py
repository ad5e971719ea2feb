"""Maps as files: a page that needs nothing else, an image, or a table."""

import json
import math
import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from molvae.arguments import checked
from molvae.chem.molecule import Molecule
from molvae.chem.pictures import small_svg
from molvae.data.tables import write_table
from molvae.errors import UsageError
from molvae.folders import write_atomic

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image, ImageFont

PICTURES: Final = (".html", ".png")
DRAWN: Final = 500
"""Most molecules whose structures a page carries; each takes some three kilobytes."""

WIDTH, HEIGHT = 900, 640
LEFT, TOP, RIGHT, BOTTOM = 76, 52, 770, 572
"""The panel of the points inside the drawing."""
BAR, BAR_WIDTH = 796, 18
VIRIDIS: Final = ("482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b")
"""The colour scale viridis without its ends, which are hard to see on black or on white."""
SHADES: Final = 64
NONE: Final = "#8f949e"
"""A point without a value."""

Numbers = npt.NDArray[np.float64]
Tick = tuple[float, str]


@dataclass(frozen=True)
class Drawing:
    """A map in the pixels of the drawing, whatever it is drawn with.

    Attributes:
        title: above the panel.
        axes: their two labels.
        name: what the colours stand for.
        x: ``(n,)``, to the right.
        y: ``(n,)``, downwards.
        shade: ``(n,)``, place in the colour scale from 0 to 63; −1 where there is no value.
        x_ticks: places and labels.
        y_ticks: places and labels.
        bar_ticks: places and labels.
    """

    title: str
    axes: tuple[str, str]
    name: str
    x: Numbers
    y: Numbers
    shade: npt.NDArray[np.int64]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bar_ticks: list[Tick]

    @property
    def radius(self) -> float:
        """Of a point: smaller where there are many."""
        return min(5.0, max(1.5, 160 / math.sqrt(len(self.x))))

    @property
    def colors(self) -> list[str]:
        """Of each point."""
        return [PALETTE[shade] if shade >= 0 else NONE for shade in self.shade]


@checked
def write_map(frame: "pd.DataFrame", path: str | Path, title: str = "") -> None:
    """Write a map of `molvae.latent.projection.latent_map`, all or nothing, in the format of the ending.

    ``.html``: one page without network or other files. The pointer on a point shows its SMILES and its value, and for
    up to 500 points its structure; some 80 bytes a point beyond that. ``.png``: an image of 1800 × 1280 pixels.
    Else a table, see `molvae.data.tables.write_table`. Distances are true: both axes have the same scale. The colours
    span the 1st to the 99th percentile; what lies beyond has the colour of that end.

    Raises:
        UsageError: another ending.
        FolderError: the file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if len(frame.columns) < 4 or frame.columns[0] != "SMILES" or not len(frame):
        raise UsageError(
            "a map has rows, and the columns SMILES, two coordinates and a value, as latent_map gives them"
        )
    if ending not in PICTURES:
        write_table(frame, path)
    else:
        drawing = draw(frame, title)
        write_atomic(path, _page(frame, drawing) if ending == ".html" else _png(drawing))


def draw(frame: "pd.DataFrame", title: str = "") -> Drawing:
    """Where everything lies in the drawing of a map."""
    x, y, values = (frame.iloc[:, k].to_numpy(dtype=float) for k in (1, 2, 3))
    spans = float(np.ptp(x)), float(np.ptp(y))
    unit = max(spans[0] / (RIGHT - LEFT), spans[1] / (BOTTOM - TOP)) * 1.06 or 1.0
    middle = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    half = (RIGHT - LEFT) / 2 * unit, (BOTTOM - TOP) / 2 * unit
    x_pixels, y_pixels = (LEFT + RIGHT) / 2 + (x - middle[0]) / unit, (TOP + BOTTOM) / 2 - (y - middle[1]) / unit
    low, high = np.percentile(values[~np.isnan(values)], [1, 99])
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    places = np.nan_to_num((values - low) / (high - low), nan=-1.0)
    shade = np.where(np.isnan(values), -1, np.clip(places * SHADES, 0, SHADES - 1).astype(np.int64))
    return Drawing(
        title=title,
        axes=tuple(frame.attrs["axes"]),
        name=str(frame.columns[3]),
        x=x_pixels,
        y=y_pixels,
        shade=shade,
        x_ticks=[((LEFT + RIGHT) / 2 + (t - middle[0]) / unit, s) for t, s in ticks(*_around(middle[0], half[0]))],
        y_ticks=[((TOP + BOTTOM) / 2 - (t - middle[1]) / unit, s) for t, s in ticks(*_around(middle[1], half[1]))],
        bar_ticks=[(BOTTOM - (t - low) / (high - low) * (BOTTOM - TOP), s) for t, s in ticks(low, high)],
    )


def ticks(low: float, high: float) -> list[Tick]:
    """Round numbers from ``low`` to ``high``, four to eight of them, and how they are written."""
    power = 10.0 ** math.floor(math.log10((high - low) / 8))
    step = next(m * power for m in (1, 2, 5, 10) if m * power * 8 >= high - low)
    marks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    return [(float(mark), f"{mark + 0.0:.6g}") for mark in marks]


def _around(middle: float, half: float) -> tuple[float, float]:
    return middle - half, middle + half


def _palette() -> list[str]:
    anchors = np.array([[int(one[k : k + 2], 16) for k in (0, 2, 4)] for one in VIRIDIS])
    at = np.linspace(0, len(anchors) - 1, SHADES)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, k]).round().astype(int) for k in range(3)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels, strict=True)]


PALETTE: Final = _palette()


def _page(frame: "pd.DataFrame", drawing: Drawing) -> str:
    smiles = frame["SMILES"].tolist()
    values = [None if np.isnan(value) else float(f"{value:.4g}") for value in frame.iloc[:, 3]]
    structures = [small_svg(Molecule.parse(text).mol, 220, 150) for text in smiles] if len(smiles) <= DRAWN else []
    points = {
        "size": [WIDTH, HEIGHT],
        "radius": round(drawing.radius, 1),
        "colors": PALETTE,
        "none": NONE,
        "x": drawing.x.round(1).tolist(),
        "y": drawing.y.round(1).tolist(),
        "shades": drawing.shade.tolist(),
        "smiles": smiles,
        "values": values,
        "name": drawing.name,
        "drawings": structures,
    }
    parts = {
        "title": escape(drawing.title or "Map of molecules"),
        "map": _svg(drawing),
        "points": json.dumps(points, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = files("molvae.latent").joinpath("map.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], template)


def _svg(drawing: Drawing) -> str:
    def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'

    middle_x, middle_y = (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-size="13">',
        text(LEFT, TOP - 22, drawing.title, "start", ' font-size="17" font-weight="600"'),
        f'<rect class="panel" x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}"/>',
    ]
    for x, label in drawing.x_ticks:
        parts += [f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>', text(x, BOTTOM + 20, label)]
    for y, label in drawing.y_ticks:
        parts += [f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>', text(LEFT - 8, y + 4, label, "end")]
    parts += [
        text(middle_x, BOTTOM + 46, drawing.axes[0]),
        text(22, middle_y, drawing.axes[1], "middle", f' transform="rotate(-90 22 {middle_y})"'),
        text(BAR, TOP - 10, drawing.name, "start"),
    ]
    step = (BOTTOM - TOP) / SHADES
    for k, color in enumerate(PALETTE):
        size = f'width="{BAR_WIDTH}" height="{step + 0.5:.2f}"'
        parts.append(f'<rect x="{BAR}" y="{BOTTOM - (k + 1) * step:.2f}" {size} fill="{color}"/>')
    parts += [text(BAR + BAR_WIDTH + 6, y + 4, label, "start") for y, label in drawing.bar_ticks]
    return "\n".join([*parts, "</svg>"])


def _png(drawing: Drawing) -> bytes:
    """Drawn four times as large and halved, which smooths the edges."""
    from PIL import Image, ImageDraw, ImageFont

    big = 4
    image = Image.new("RGB", (WIDTH * big, HEIGHT * big), "white")
    pen = ImageDraw.Draw(image)

    def text(x: float, y: float, words: str, anchor: str = "mm", size: int = 13) -> None:
        pen.text((x * big, y * big), words, fill="#1b1d22", anchor=anchor, font=ImageFont.load_default(size * big))

    def box(left: float, top: float, right: float, bottom: float, color: str) -> None:
        pen.rectangle((left * big, top * big, right * big, bottom * big), fill=color)

    box(LEFT, TOP, RIGHT, BOTTOM, "#f5f6f8")
    for x, label in drawing.x_ticks:
        box(x, TOP, x + 0.5, BOTTOM, "#d3d6dc")
        text(x, BOTTOM + 16, label)
    for y, label in drawing.y_ticks:
        box(LEFT, y, RIGHT, y + 0.5, "#d3d6dc")
        text(LEFT - 8, y, label, "rm")
    radius = drawing.radius * big
    for x, y, color in zip(drawing.x * big, drawing.y * big, drawing.colors, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    step = (BOTTOM - TOP) / SHADES
    for k, color in enumerate(PALETTE):
        box(BAR, BOTTOM - (k + 1) * step, BAR + BAR_WIDTH, BOTTOM - k * step, color)
    for y, label in drawing.bar_ticks:
        text(BAR + BAR_WIDTH + 6, y, label, "lm")
    text(LEFT, TOP - 28, drawing.title, "lm", 17)
    text(BAR, TOP - 14, drawing.name, "lm")
    text((LEFT + RIGHT) / 2, BOTTOM + 42, drawing.axes[0])
    upright = _upright(drawing.axes[1], ImageFont.load_default(13 * big))
    image.paste("#1b1d22", (14 * big, (TOP + BOTTOM) * big // 2 - upright.height // 2), upright)
    written = BytesIO()
    image.resize((WIDTH * big // 2, HEIGHT * big // 2), Image.Resampling.LANCZOS).save(written, "PNG")
    return written.getvalue()


def _upright(words: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> "Image.Image":
    """The words as a mask that reads from the bottom to the top."""
    from PIL import Image, ImageDraw

    _, _, right, bottom = font.getbbox(words)
    line = Image.new("L", (math.ceil(right), math.ceil(bottom)))
    ImageDraw.Draw(line).text((0, 0), words, fill=255, font=font)
    return line.transpose(Image.Transpose.ROTATE_90)
