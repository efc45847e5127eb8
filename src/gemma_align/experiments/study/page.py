"""The answer as one HTML page: no network, plots that can be hovered, their numbers in report.json beside it.

plotly.js lies in the page as compressed text, which the browser unpacks: 2 MB instead of 5.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gemma_align.experiments.study.values import p_text

MAX_BYTES = 5_000_000


def study_page(answer: Mapping[str, Any]) -> str:
    """The page of what `answer.answer` gives. Text of any kind is escaped."""
    environment = Environment(
        loader=PackageLoader("gemma_align.experiments.study", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": interval, "number": number, "p": p_value, "count": count, "pretty": _pretty}
    shown = {key: value for key, value in answer.items() if key != "made_with"}
    return environment.get_template("page.html.j2").render(
        answer=answer,
        css=Markup(_own("page.css")),
        js=Markup(_own("page.js")),
        data=Markup(_json(shown)),
        plotly=Markup(_plotly()),
    )


def interval(value: Mapping[str, float | None] | None) -> str:
    """Such as 0.21 [0.19, 0.24]; empty where there is nothing."""
    if value is None or value["mean"] is None:
        return ""
    if value["low"] is None or value["high"] is None:
        return number(value["mean"])
    return f"{number(value['mean'])} [{number(value['low'])}, {number(value['high'])}]"


def number(value: float | None) -> str:
    """Three decimals of small numbers, fewer of large ones."""
    if value is None:
        return ""
    return f"{value:.{3 if abs(value) < 9.9995 else 1 if abs(value) < 999.95 else 0}f}"


def p_value(value: float | None) -> str:
    """Such as 0.012; empty where nothing was tested."""
    return "" if value is None else p_text(value)


def count(value: float) -> str:
    """Such as 12,345."""
    return f"{value:,.0f}"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1)


def _json(value: Any) -> str:
    """Safe inside a script element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _own(name: str) -> str:
    return (files("gemma_align.experiments.study") / "page" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    code = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(code, 9, mtime=0)).decode()
