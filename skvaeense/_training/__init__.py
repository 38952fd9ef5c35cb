"""The training loop and what it needs; nothing here knows of scikit-learn's estimators."""
