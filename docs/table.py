"""A table, in the formats that the guide and README.md need."""

import csv
import io
from typing import NamedTuple

MISSING = "not measured yet"


class Table(NamedTuple):
    """The cells of a table."""

    header: tuple
    rows: list

    def rst(self):
        """Return a csv-table directive."""
        if not self.rows:
            return f"*{MISSING.capitalize()}.*\n"
        lines = io.StringIO()
        writer = csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([[escape(cell) for cell in row] for row in [self.header, *self.rows]])
        body = "".join(f"   {line}\n" for line in lines.getvalue().splitlines())
        return f".. csv-table::\n   :class: measured\n   :header-rows: 1\n\n{body}"

    def markdown(self, columns):
        """Return some columns as a table of Markdown."""
        if not self.rows:
            return f"*{MISSING.capitalize()}.*\n"
        kept = [self.header.index(column) for column in columns]
        rows = [columns, ["---"] * len(columns), *([row[i] for i in kept] for row in self.rows)]
        return "".join(f"| {' | '.join(str(cell) for cell in row)} |\n" for row in rows)


def escape(cell):
    """Return a cell as text in which nothing is markup."""
    return "".join("\\" + c if c in "\\*_`|" else c for c in str(cell))
