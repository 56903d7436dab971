"""What the page does to texts as it sends a graph: `{a|b}` choices, comments, `%date:…%` in file names."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable


def choose(text: str) -> str:
    r"""One random reading of `{red|green} ball`; choices nest, `\{` is a brace, `/* */` and `//` comment."""
    text = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
    innermost = re.compile(r"(?<!\\)\{((?:\\.|[^{}\\])*)\}")
    while (found := innermost.search(text)) is not None:
        options = re.split(r"(?<!\\)\|", found[1])
        text = text[: found.start()] + random.choice(options) + text[found.end() :]
    return re.sub(r"\\([{}|])", r"\1", text)


def fill(text: str, widget: Callable[[str, str], str | None]) -> str:
    """`%date:yyyy-MM-dd%` and `%Title.input%` filled in; `widget(title, input)` looks the latter up."""

    def replace(found: re.Match[str]) -> str:
        inside = found[1]
        parts = inside.split(".")
        if len(parts) == 2:
            value = widget(*parts)
            return found[0] if value is None else re.sub(r'[/?<>\\:*|"\x00-\x1f\x7f]', "_", value)
        return _date(inside[5:]) if inside.startswith("date:") else found[0]

    return re.sub(r"%([^%]+)%", replace, text)


def _date(pattern: str) -> str:
    now = time.localtime()
    words = {
        "yyyy": f"{now.tm_year}", "yy": f"{now.tm_year % 100:02}",
        "MM": f"{now.tm_mon:02}", "M": f"{now.tm_mon}",
        "dd": f"{now.tm_mday:02}", "d": f"{now.tm_mday}", "hh": f"{now.tm_hour:02}", "h": f"{now.tm_hour}",
        "mm": f"{now.tm_min:02}", "m": f"{now.tm_min}", "ss": f"{now.tm_sec:02}", "s": f"{now.tm_sec}",
    }  # fmt: skip
    return re.sub("yyyy|yy|MM?|dd?|hh?|mm?|ss?", lambda found: words[found[0]], pattern)
