"""How rows come in: sources, scaling, weights, missing values, devices and batches."""
