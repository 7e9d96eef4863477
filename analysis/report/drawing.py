"""What all figures of a report share: facets, file names, and the step from axes to SVG."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from analysis.evidence import frames
from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.figures import facets, legend

SPARSITY = "Sparsity (% of prunable units removed)"


@dataclass(frozen=True)
class Plot:
    """One figure: file name without ending, caption, text for those who cannot see it, and the SVG."""

    name: str
    caption: str
    alt: str
    svg: str


class Facet(NamedTuple):
    """One data set and model: what one axes shows."""

    dataset: str
    model: str

    @property
    def title(self) -> str:
        """What stands over the axes."""
        return f"{self.model} on {self.dataset}"


def by_space(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """One part per granularity and allocation, of the cells that have a requested sparsity."""
    chosen = rows[rows["sparsity"].notna()]
    for (granularity, allocation), cells in chosen.groupby(["granularity", "allocation"], sort=False):
        yield str(granularity), str(allocation), cells


def facets_of(frame: pd.DataFrame) -> list[Facet]:
    """Return the data sets and models of a frame in order."""
    distinct = frame[["dataset", "model"]].drop_duplicates()
    return [Facet(str(d), str(m)) for d, m in zip(distinct["dataset"], distinct["model"], strict=True)]


def within(frame: pd.DataFrame, place: Facet) -> pd.DataFrame:
    """Rows of one facet."""
    return frame[frame["dataset"].eq(place.dataset) & frame["model"].eq(place.model)]


def plot(
    name: str, places: list[Facet], draw: Callable[[int, Axes], None], caption: str, *, y: str, labels:
    list[str], same: list[str] | None = None, references: Sequence[str] = (), titles: list[str] | None = None,
    columns: int = 3, methods: Methods,
) -> Plot:  # fmt: skip
    """Make a figure over sparsity with one legend; `same` names the scorers that magnitude's line stands for."""
    if same:
        caption += f" Equal to magnitude in every point, and so drawn as one line: {', '.join(same)}."
    with styled():
        figure = facets(titles or [place.title for place in places], draw, x=SPARSITY, y=y, columns=columns)
        shown = {frames.MAGNITUDE: f"{frames.MAGNITUDE} (+ {len(same)})"} if same else {}
        legend(figure, labels, shown, methods, references)
    return finish(name, figure, caption, places)


def finish(name: str, figure: Figure, caption: str, places: Sequence[Facet]) -> Plot:
    """Turn a figure into SVG, the same bytes every time.

    `Figure.savefig` gives the same bytes, but draws everything twice, the first time for the layout alone.
    """
    buffer = io.StringIO()
    with styled(), warnings.catch_warnings():
        # names of any length and script: they may leave the axes no room, and the viewer's fonts have the letters
        warnings.filterwarnings("ignore", "constrained_layout not applied|Glyph .* missing")
        canvas = FigureCanvasSVG(figure)
        figure.dpi = 72  # that of SVG
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    alt = f"Figure {name}"
    if places:
        alt += f": {', '.join(dict.fromkeys(place.title for place in places))}"
    return Plot(file_name(name), caption, alt, buffer.getvalue())


def file_name(text: str) -> str:
    """Return a name that is safe in every file system and still distinct.

    Examples
    --------
    >>> file_name("accuracy-weight-uniform")
    'accuracy-weight-uniform'
    >>> file_name("accuracy-weight-../x")
    'accuracy-weight-x-f6dced'
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "", text)
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
