"""Tables that a program writes into a page between two markers; the rest of the page is a person's."""

import re
from pathlib import Path


def write_block(page: Path, name: str, text: str) -> None:
    """Puts `text` between `<!-- name:begin -->` and `<!-- name:end -->`, which stand in the page once."""
    block = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", flags=re.S)
    written, count = block.subn(lambda found: found[1] + text + found[2], page.read_text(encoding="utf-8"))
    assert count == 1, f"{page.name} keeps its markers"
    page.write_text(written, encoding="utf-8")
