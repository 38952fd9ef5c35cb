"""Check what a build of the documentation promises.

    python docs/check.py docs/_build/html

Every link inside the site leads to a file, and to a place in it where it names one. README.md is
shown elsewhere, too, so its links are absolute: those to this repository lead to a file, those to
this site to a page, and its examples run. Links to other sites are not tried.
"""

import re
import sys
import tomllib
import warnings
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent


@cache
def parse(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path):
    """Return the names of all places in a page."""
    return {tag[key] for key in ("id", "name") for tag in parse(path).find_all(attrs={key: True})}


def broken_links(folder):
    """Yield (page, link) for each link, picture or script of the site that leads nowhere."""
    # The theme's own files are no pages.
    for page in sorted(set(folder.rglob("*.html")) - set(folder.glob("_static/**/*"))):
        for tag in parse(page).find_all(["a", "img", "link", "script"]):
            link = tag.get("href") or tag.get("src") or ""
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = page.parent / unquote(parts.path) if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            html = target.suffix == ".html" and target.is_file()
            place = unquote(parts.fragment)
            if not target.is_file() or (html and place and place not in anchors(target)):
                yield page.relative_to(folder), link


def broken_readme_links(text, site):
    """Yield each relative link, and each that names no file of the repository or the site."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    raw = urls["Source"].replace("github.com", "raw.githubusercontent.com")
    places = {
        f"{urls['Source']}/blob/main/": ROOT,
        f"{raw}/main/": ROOT,
        f"{urls['Documentation']}/en/latest/": site,
    }
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        files = [to / link.removeprefix(url) for url, to in places.items() if link.startswith(url)]
        if not urlsplit(link).scheme or not all(file.is_file() for file in files):
            yield "README.md", link


def run_readme(text):
    """Run the Python examples; one that fails raises."""
    warnings.simplefilter("error")
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})


def main():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    site = Path(sys.argv[1])
    broken = [*broken_links(site), *broken_readme_links(readme, site)]
    for page, link in broken:
        sys.stderr.write(f"{page}: broken link {link}\n")
    run_readme(readme)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
