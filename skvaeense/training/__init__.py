"""How models are trained: initial weights, steps and when to stop."""
