"""Settings of property tests: the same examples in every run, and no time limit."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "properties",
    derandomize=True,
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("properties")
