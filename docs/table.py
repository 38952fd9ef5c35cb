"""Tables of results: which rows, which numbers of each, in which format, and the best of them."""

import csv
import io
import math
from itertools import chain, islice
from typing import NamedTuple

MISSING = "not measured yet"


class Best(str):
    """A cell that is the best of those that it is compared with, which is shown in bold."""

    __slots__ = ()


class Table(NamedTuple):
    """The cells of a table, and a line below it."""

    header: tuple
    rows: list
    note: str = ""

    def rst(self):
        """Return a csv-table directive."""
        if not self.rows:
            return f"*{MISSING.capitalize()}.*\n"
        lines = io.StringIO()
        writer = csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([[escape(cell) for cell in row] for row in [self.header, *self.rows]])
        body = "".join(f"   {line}\n" for line in lines.getvalue().splitlines())
        note = f"\n{self.note}\n" if self.note else ""
        return f".. csv-table::\n   :class: measured\n   :header-rows: 1\n\n{body}{note}"

    def markdown(self, columns):
        """Return some columns as a table of Markdown."""
        if not self.rows:
            return f"*{MISSING.capitalize()}.*\n"
        kept = [self.header.index(column) for column in columns]
        rows = [columns, ["---"] * len(columns), *([row[i] for i in kept] for row in self.rows)]
        return "".join(f"| {' | '.join(map(shown, row))} |\n" for row in rows)


def shown(cell):
    """Return a cell as text, in bold if it is the best."""
    return f"**{cell}**" if isinstance(cell, Best) else str(cell)


def escape(cell):
    """Return a cell as text in which nothing is markup but what shows that it is the best."""
    text = "".join("\\" + c if c in "\\*_`|" else c for c in str(cell))
    return f"**{text}**" if isinstance(cell, Best) else text


def several(values):
    """Return the share of numbers above 1."""
    return sum(value > 1 for value in values) / len(values)


def succeeded(rows):
    """Return the share of the fits whose counts have a small mean absolute error."""
    return sum(row["error"] < (0.5 if "atoms" in row["data"] else 0.05) for row in rows) / len(rows)


def near(share):
    """Return a function that gives the share of the fits that come near the least loss of any.

    They come so far from the loss of the empty code to the least one as `share` says.
    """

    def of(rows):
        done = [row for row in rows if row["loss"] is not None]
        least = min(row["loss"] for row in done)
        gains = (row["empty"] - row["loss"] - share * (row["empty"] - least) for row in done)
        return sum(gain >= 0 for gain in gains) / len(rows)

    return of


def summarised(values):
    """Return the different texts, the one number there is, or the mean of those that are finite."""
    if isinstance(values[0], str):
        return ", ".join(dict.fromkeys(values))
    finite = [value for value in values if math.isfinite(value)]
    return finite[0] if len(set(finite)) == 1 else sum(finite) / len(finite) if finite else None


# What a column makes of the values of several rows.
FUNCTIONS = {"": summarised, "len": len, "max": max, "min": min, "several": several}
FUNCTIONS |= {"succeeded": succeeded, "near 95 %": near(0.95), "near 99 %": near(0.99)}


class Column(NamedTuple):
    """A column as tables.toml describes it."""

    title: str
    path: str = ""
    form: str = ""
    of: str = ""
    best: str = ""

    @classmethod
    def of_text(cls, text):
        """Return the column of a line, whose title is its path if it has nothing else."""
        title, *others = (part.strip() for part in text.split("|"))
        return cls(title, *others or [title])

    def value(self, rows):
        """Return the value for some rows, or None where they have none."""
        found = [value for row in rows if (value := at(row, self.path)) is not None]
        if not found:
            return None
        if isinstance(found[0], list):
            found = [*chain.from_iterable(found)]
        return FUNCTIONS[self.of](found) if found or self.of == "len" else None

    def text(self, value):
        """Return a value in the format of the column."""
        return "" if value is None or value != value else f"{value:{self.form}}"


def at(row, path):
    """Return what some keys lead to, or None if they lead nowhere."""
    for key in path.split("/") if path else ():
        row = row.get(key) if row else None
    return row


def rows_at(part, keys, above):
    """Yield the rows that some keys lead to, with what the dicts above them have, and a "name"."""
    if isinstance(part, list):
        yield from (above | row for row in part)
    elif not keys:
        yield above | part
    elif keys[0] == "*":
        for name, inner in part.items():
            if isinstance(inner, dict | list):
                names = [above["name"]] if "name" in above else []
                outer = above | (inner if isinstance(inner, dict) else {})
                yield from rows_at(inner, keys[1:], outer | {"name": ", ".join([*names, name])})
    elif keys[0] in part:
        yield from rows_at(part[keys[0]], keys[1:], above)


def measured(spec, results):
    """Return a table of tables.toml for a file of results."""
    columns = [*map(Column.of_text, spec["columns"])]
    part, only, but = (spec.get(key, {}) for key in ("part", "only", "but"))
    groups = {}
    for i, row in enumerate(rows_at(results, spec["rows"].partition(":")[2].split("/"), {})):
        if only.items() <= row.items() and not (but and but.items() <= row.items()):
            groups.setdefault(tuple(row[name] for name in spec.get("by", ())) or i, []).append(row)
    parts = {}
    for own in groups.values():
        parts.setdefault(own[0][part] if part else None, []).append(own)
    values = [[column.value(own) for column in columns] for part in parts.values() for own in part]
    cells = [[c.text(v) for c, v in zip(columns, own, strict=True)] for own in values]
    rows = iter(range(len(cells)))
    for part in parts.values():
        own = list(islice(rows, len(part)))
        for j, column in enumerate(columns):
            if column.best not in ("", "across"):
                mark(cells, values, [(i, j) for i in own], FUNCTIONS[column.best])
    across = [j for j, column in enumerate(columns) if column.best == "across"]
    for i in range(len(cells)) if across else ():
        mark(cells, values, [(i, j) for j in across], FUNCTIONS[spec["across"]])
    notes = {
        "version": "Measured with the version of {}, which has the script.",
        "version of others": "The others were measured with the version of {}.",
    }
    note = "".join(
        f"*{text.format(results[key])}*" for key, text in notes.items() if key in results
    )
    return Table(tuple(column.title for column in columns), cells, note)


def mark(cells, values, places, best):
    """Mark the best of some places of a table, unless all show the same."""
    found = {p: v for p in places if (v := values[p[0]][p[1]]) is not None and v == v}
    texts = {(i, j): cells[i][j] for i, j in found}
    if len(set(texts.values())) > 1:
        first = texts[best(found, key=found.get)]
        for i, j in texts:
            if cells[i][j] == first:
                cells[i][j] = Best(first)
