"""The report page: one self-contained HTML file with a table and pictures."""

import base64
import html
from collections.abc import Mapping, Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2530; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td { padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #e3e7ec; }
td + td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } pre { font-size: 11px; overflow-x: auto; background: #f5f7f9; padding: .8rem; }
"""


def report_page(
    title: str,
    rows: Sequence[tuple[str, str]],
    pictures: Mapping[str, tuple[bytes, str]],
    texts: Mapping[str, str],
) -> str:
    """Returns the page.

    Args:
      title: Of the page.
      rows: The table: what, and its value.
      pictures: PNG bytes and one sentence, by heading.
      texts: Preformatted texts by heading, folded away.
    """
    table = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    figures = "\n".join(
        f"<h2>{html.escape(heading)}</h2>\n<p>{html.escape(sentence)}</p>\n"
        f'<img alt="{html.escape(heading)}" src="data:image/png;base64,'
        f'{base64.b64encode(png).decode()}">'
        for heading, (png, sentence) in pictures.items()
    )
    folded = "\n".join(
        f"<details><summary>{html.escape(heading)}</summary><pre>{html.escape(text)}</pre></details>"
        for heading, text in texts.items()
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n<table>\n{table}\n</table>\n{figures}\n{folded}\n</html>\n"
    )
