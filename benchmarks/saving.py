"""How benchmarks add to their files of results."""

import json


def save(path, name, result):
    """Add a result to a JSON file."""
    results = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(results | {name: result}, indent=1) + "\n")
