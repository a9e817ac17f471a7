"""Colours, texts and layout that the report's figures share. A figure is a dict, as plotly.js takes it."""
from __future__ import annotations

import colorsys
import html
from dataclasses import dataclass
from typing import Any, Dict, List

Figure = Dict[str, Any]

#: Colours of endpoints: the same everywhere in the page. They stand out from white by 3:1 or more, as all colours here.
_ENDPOINTS = ("#0072B2", "#D55E00", "#00845F", "#AA3377", "#7A5C00", "#5B4BB5", "#0E8A9C", "#A0303A", "#4C7A1E", "#555555")
_APPS = ("#5B8FD0", "#C9822B", "#4FA06A", "#B5699F", "#8F8A2E", "#8576C8", "#3C9AA5", "#C96A60")
OTHER_APPS = "#8A8A8A"

FAILED = "#C00020"
PROBED = "#B8730A"
INK = "#1D2733"
GRID = "#E3E7EC"

#: Of thread-time (:data:`accounting.USES`), of task-time (:data:`paths.PARTS`) and of task states (:data:`columns.STATES`).
USE_COLOURS = ("#2E7D4F", FAILED, "#6A51A3", "#B8730A", "#0B7FA8", "#7C8794", "#A9B1BB", "#8A4B08", "#3B3B3B")
PART_COLOURS = ("#A9B1BB", "#7C8794", FAILED, "#B8730A", "#2E7D4F", "#7B6FC0")
STATE_COLOURS = ("#C9CFD6", "#7C8794", "#B8730A", "#0B7FA8", "#2E7D4F", FAILED)


def endpoint_colour(number: int) -> str:
    """The colour of an endpoint."""
    if number < len(_ENDPOINTS):
        return _ENDPOINTS[number]
    red, green, blue = colorsys.hls_to_rgb(number * 0.618034 % 1.0, 0.36, 0.6)
    return f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"


def app_colours(weights: Dict[int, float]) -> Dict[int, str]:
    """Colours of apps, by what they weigh: the heaviest have one each, the others one together (:data:`OTHER_APPS`)."""
    ranked = sorted(weights, key=lambda app: -weights[app])
    return {app: _APPS[i] if i < len(_APPS) else OTHER_APPS for i, app in enumerate(ranked)}


def translucent(colour: str, opacity: float) -> str:
    """A ``#RRGGBB`` colour as ``rgba(...)``."""
    return "rgba({},{},{},{})".format(*(int(colour[i:i + 2], 16) for i in (1, 3, 5)), opacity)


def darker(colour: str) -> str:
    """A ``#RRGGBB`` colour with less light."""
    return "#" + "".join(f"{int(colour[i:i + 2], 16) * 7 // 10:02X}" for i in (1, 3, 5))


def ink_on(colour: str) -> str:
    """The colour of text that can be read on a ``#RRGGBB`` colour."""
    red, green, blue = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else "#FFFFFF"


def clip(text: str, most: int) -> str:
    """The text on one line, no longer than ``most``."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else text[:most - 1] + "…"


def label(text: str, most: int = 28) -> str:
    """Text of the log for a figure: plotly.js takes tags in texts for what they are in HTML."""
    return html.escape(clip(text, most), quote=False)


def span(seconds: float) -> str:
    """A time for people."""
    if seconds != seconds:
        return "?"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f}\u00a0ms"
    if seconds < 99.95:
        return f"{seconds:.3g}\u00a0s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}\u00a0min\u00a0{seconds % 60:.0f}\u00a0s"
    return f"{seconds // 3600:,.0f}\u00a0h\u00a0{seconds % 3600 // 60:.0f}\u00a0min"


def percent(share: float) -> str:
    """A share for people."""
    return "under 1\u00a0%" if 0 < share < 0.005 else "over 99\u00a0%" if 0.995 <= share < 1 else f"{share * 100:.0f}\u00a0%"


def plural(number: int, what: str, many: str = "") -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number:,}\u00a0{what if number == 1 else many or what + 's'}"


@dataclass
class Clock:
    """The page's time line: from the first task's submission on, in the unit that suits.

    Parameters
    ----------
    begin, end : float
        Seconds since the epoch.
    """

    begin: float
    end: float

    @property
    def unit(self) -> str:
        """``s``, ``min`` or ``h``."""
        seconds = self.end - self.begin
        return "s" if seconds < 900 else "min" if seconds < 3 * 3600 else "h"

    @property
    def seconds(self) -> float:
        """Seconds in a unit."""
        return {"s": 1.0, "min": 60.0, "h": 3600.0}[self.unit]

    def at(self, time: float) -> float:
        """Where a time, in seconds since the epoch, is on the axis."""
        return short((time - self.begin) / self.seconds)

    def inside(self, time: float) -> float:
        """The same, of a time before or after the run as of its begin or end."""
        return self.at(min(max(time, self.begin), self.end))

    def axis(self, **more: Any) -> Dict[str, Any]:
        """An x axis."""
        return axis(f"time since the first task was submitted ({self.unit})", **{"range": [0, self.at(self.end) or 1], **more})


def short(value: float) -> float:
    """A number with the digits that can be seen."""
    return float(f"{value:.6g}")


def axis(title: str, **more: Any) -> Dict[str, Any]:
    """An axis."""
    return {"title": {"text": title, "standoff": 8}, "gridcolor": GRID, "zeroline": False, "automargin": True, "linecolor": "#9AA5B1",
            **more}


def figure(data: List[Dict[str, Any]], height: int, *, legend: bool = True, hover: str = "closest", **layout: Any) -> Figure:
    """A figure of the page's look; its title is in the page, in words."""
    return {"data": data, "layout": {
        "height": height, "autosize": True, "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
        "paper_bgcolor": "#FFFFFF", "plot_bgcolor": "#FFFFFF",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK}, "hovermode": hover, "showlegend": legend,
        "hoverlabel": {"align": "left", "bgcolor": "#FFFFFF", "font": {"color": INK}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}, **layout}}


def area(name: str, x: List[float], y: List[float], colour: str) -> Dict[str, Any]:
    """A stacked area of counts that hold until the next."""
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "stackgroup": "all", "fillcolor": colour,
            "hovertemplate": "%{y:.4~g}", "line": {"shape": "hv", "width": 0.5, "color": colour}}
