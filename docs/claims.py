"""Sentences of README.md with a number or a comparison, checked against the committed results.

    python docs/claims.py

Tables are left out, since they are generated. Each other sentence or comment of an example that has
a number, or one of the words of `COMPARISON`, has to be one of those that `claims` makes from the
results, or the program names it and fails.
"""

import json
import re
import sys
import tomllib

from tables import README, RESULTS, ROOT

from skvaeense.explanations._em import DEFAULT_SHARE

COMPARISON = re.compile(
    r"(?<![\w`=.])\d[\d.,]*(?![\w-])|\b(twice|half|third|times|few|fewer|less|least|many|more|most"
    r"|best|better|worse|worst|above|below|beyond|higher|lower|larger|largest|smaller|smallest"
    r"|shorter|shortest|longer|faster|fastest|slower|slowest|ahead|behind|beats?|wins?|loss(es)?|loses?|than)\b",
    re.IGNORECASE,
)


def load(name, results=RESULTS):
    """Return a file of results."""
    return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))


def claims(results=RESULTS):
    """Return the sentences that the results allow, with the numbers that they have.

    Parameters
    ----------
    results : Path, default=RESULTS
        The folder of results.

    Returns
    -------
    set of str
        The sentences.
    """
    demo, headline = load("demo", results), load("headline", results)
    errors, example = demo["errors"], headline["example"][0]
    scores, active = example["scores"], example["active"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    share, python = DEFAULT_SHARE, project["requires-python"].removeprefix(">=")
    found = {
        f"Where nothing is, codes are the shortest that keep {100 * share:.0f} % of the variance.",
        f"Samples on three subspaces of dimensions {_listed(active)}, with noise.",
        ", ".join(f"{n:.1f}" for n in active.values()),
        f"{scores['VAEense']:.1f}; GaussianMixture by cross-validation "
        f"{scores['GaussianMixture']:.1f}, PCA {scores['PCA']:.1f}",
        f"Python {python} or newer is needed.",
    }
    if {"PCA, largest", "PCA, first"} < set(errors):
        found.add(
            "A code also says which latents are active, so PCA gets the same space: the largest "
            "components of each digit, or twice as many without indices."
        )
    of_latents = zip(errors["VAEense"], errors["PCA, largest"], errors["PCA, first"], strict=True)
    if all(ours < 0.75 * min(others) for ours, *others in of_latents):
        found.add("VAEense is far below both kinds of principal components.")
    return found


def sentences(text):
    """Yield the sentences of a Markdown text, and the comments of its examples; without tables."""
    text = re.sub(r"<!-- table .*?<!-- end of table -->", "", text, flags=re.DOTALL)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        yield from (line.partition("  # ")[2] for line in block.splitlines())
    text = re.sub(r"```.*?```|^#.*?$|^    .*?$", "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    # What a picture shows is said by its alternative text; a link by its own.
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("*", "")
    for paragraph in re.split(r"\n\s*\n|\n- ", text):
        yield from re.split(r"(?<=[.:?!])\s+(?=[^a-z])", " ".join(paragraph.split()))


def unsupported(text, results=RESULTS):
    """Return the sentences with a number or a comparison that no result supports."""
    known = claims(results)
    return [s for s in sentences(text) if COMPARISON.search(s) and s not in known]


def _listed(names):
    *others, last = map(str, names)
    return f"{', '.join(others)} and {last}"


def main():
    """Print the sentences of README.md that no result supports, and fail if there are any."""
    found = unsupported(README.read_text(encoding="utf-8"))
    for sentence in found:
        sys.stderr.write(f"README.md: no result supports {sentence!r}\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
