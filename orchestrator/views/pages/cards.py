"""Tables that become cards on a narrow screen: each cell carries its column's title, and roles that outlive CSS.

A browser forgets that an element is a table as soon as a style sheet lays it out as blocks, hence the explicit roles.
"""

import html
import re

TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
HEAD = re.compile(r"<thead>(.*?)</thead>", re.DOTALL)
TITLE = re.compile(r'<th scope="col"[^>]*>(.*?)</th>', re.DOTALL)
TAG = re.compile(r"<[^>]*>")
OPENING = re.compile(r"<(table|thead|tbody|tfoot|tr|th|td)((?:\s[^>]*)?)>")
ROLES = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tfoot": "rowgroup", "tr": "row", "td": "cell"}


def with_cards(page: str) -> str:
    """Return the HTML with roles in every table, and in each cell of a body its column's title as `data-label`.

    The tables are those of relay's own templates: `<table>` without attributes, one row of `<th scope="col">` in
    `<thead>`, and no cell that spans several columns. Texts in them are escaped, so a tag is always a tag.
    """
    return TABLE.sub(lambda found: _card_table(found.group()), page)


def _card_table(table: str) -> str:
    head = HEAD.search(table)
    titles = [_text(title) for title in TITLE.findall(head.group(1))] if head else []
    column = 0

    def marked(found: re.Match[str]) -> str:
        nonlocal column
        tag, attributes = found.groups()
        if tag == "tr":
            column = 0
        if tag not in ("th", "td"):
            return f'<{tag}{attributes} role="{ROLES[tag]}">'
        title = titles[column] if column < len(titles) else ""
        column += 1
        if tag == "th":
            role = "columnheader" if 'scope="col"' in attributes else "rowheader"
            return f'<th{attributes} role="{role}">'
        label = f' data-label="{html.escape(title)}"' if title else ""
        return f'<td{attributes} role="cell"{label}>'

    return OPENING.sub(marked, table)


def _text(title: str) -> str:
    return " ".join(html.unescape(TAG.sub(" ", title)).split())
