"""Look whether every link, image and script of a built site leads to something within it.

    python docs/links.py docs/_build

Sphinx warns of references that it cannot resolve; this looks at the pages as a browser has them: files, and the places
in them that are linked to. Links to other sites are looked at by `make links`.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has of them."""
        for name, value in attrs:
            if value is None:
                continue
            if name in ("id", "name"):
                self.places.add(value)
            elif name == "src" or (name == "href" and tag in ("a", "link")):
                self.links.add(value)


def broken(site: Path) -> list[str]:
    """Links that lead nowhere, as `page: link`."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            places = pages[target].places if target in pages else {""}
            # Those of other files (source code, for example) are not looked at.
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in places):
                faults.append(f"{path.relative_to(site.resolve())}: {link}")
    if not pages:
        faults.append(f"{site} has no pages")
    return faults


def main() -> None:
    """Print the links that lead nowhere; exit status 1 if there are any."""
    faults = broken(Path(sys.argv[1]))
    print("\n".join(faults) or f"all links within {sys.argv[1]} lead somewhere")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
