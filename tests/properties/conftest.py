"""Settings of property tests: the same examples in every run, and no time limit."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "properties",
    derandomize=True,
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("properties")


def pytest_collection_modifyitems(items):
    """Ignore warnings of rows far from all others, which samples of hypothesis can have."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:.* far from all others"))
