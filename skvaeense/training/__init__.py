"""Training: the trainer, its data and hooks, independent of scikit-learn's estimators."""
