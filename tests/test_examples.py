"""Gallery examples assert the claims of their text that their page does not show."""

import re
from pathlib import Path

EXAMPLES = sorted((Path(__file__).parent.parent / "docs" / "examples").glob("plot_*.py"))
HIDDEN = re.compile(
    r"^ *# sphinx_gallery_start_ignore\n(.*?)^ *# sphinx_gallery_end_ignore$",
    re.DOTALL | re.MULTILINE,
)


def test_every_example_asserts_and_shows_no_assertion():
    assert EXAMPLES
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert any("assert " in block for block in HIDDEN.findall(text)), path.name
        assert "assert " not in HIDDEN.sub("", text), path.name
