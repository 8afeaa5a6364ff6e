"""A page to look at: one HTML file that holds its own plots and pictures and asks nobody for anything."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from matplotlib.figure import Figure

from edge.values import Image
from training.output import put

_STYLE = """
:root { color-scheme: light; --ink: #22282b; --soft: #69757b; --line: #dfe4e6; --bad: #b3261e; --good: #1a7f4b; }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.4rem }
p.lead { font-size: 1.1rem; color: var(--soft); margin-top: 0 } p.verdict { border-left: 4px solid var(--good);
  padding: .4rem .8rem; background: #f3f7f5 } p.verdict.bad { border-color: var(--bad); background: #faf2f1 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 }
caption, figcaption { text-align: left; color: var(--soft); font-size: .9rem; padding: .3rem 0 }
th { text-align: left; border-bottom: 2px solid var(--line) } td, th { padding: .2rem .8rem .2rem 0 }
td { border-bottom: 1px solid var(--line) } td.n { text-align: right; white-space: nowrap }
figure { margin: 1rem 0 } figure svg { max-width: 100%; height: auto }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .7rem }
.sheet div { font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere }
.sheet img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #eef0f1; border-radius: 4px;
  display: block }
.sheet .bad { color: var(--bad) }
"""
_THUMB = 180


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a contact sheet, uint8[h, w, 3] RGB, with its caption's lines; `bad` ones stand out."""

    image: Image
    lines: tuple[str, ...]
    bad: bool = False


class Page:
    """Built from top to bottom. All text is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def verdict(self, text: str, good: bool) -> None:
        """The one sentence that matters."""
        self._parts.append(f'<p class="verdict{"" if good else " bad"}">{html.escape(text)}</p>')

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> None:
        """Numbers to the right; floats as they are written by the caller."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
        caption = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        self._parts.append(f'<div class="wide"><table>{caption}<tr>{head}</tr>{body}</table></div>')

    def plot(self, figure: Figure, caption: str) -> None:
        """Inline as SVG."""
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :]
        self._parts.append(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def sheet(self, shown: Iterable[Shown], caption: str) -> None:
        """A contact sheet."""
        cells = "".join(_thumb(one) for one in shown)
        self._parts.append(f"<p>{html.escape(caption)}</p>" + f'<div class="sheet">{cells}</div>')

    def write(self, path: Path) -> None:
        """Raises `StateError`."""
        title = html.escape(self._title)
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        head += f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>'
        put(path, head + "\n".join(self._parts) + "</html>\n")


def _cell(value: Any) -> str:
    number = isinstance(value, int | float) or (isinstance(value, str) and value[:1].isdigit())
    return f"<td{' class=n' if number else ''}>{html.escape(str(value))}</td>"


def _thumb(shown: Shown) -> str:
    height, width = shown.image.shape[:2]
    scale = min(_THUMB / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.cvtColor(cv2.resize(shown.image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    data = base64.b64encode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()).decode()
    lines = "<br>".join(html.escape(line) for line in shown.lines)
    return f'<div{" class=bad" if shown.bad else ""}><img alt="" src="data:image/jpeg;base64,{data}">{lines}</div>'
