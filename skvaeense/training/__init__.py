"""Training: the trainer, its data and hooks; nothing here knows of scikit-learn's estimators."""
