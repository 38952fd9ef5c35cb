"""When to stop."""

import math


class Plateau:
    """Watch a held-out loss, keep the best state, and say when it no longer falls.

    Parameters
    ----------
    tol : float
        Least fall of the loss that counts as one.

    patience : int
        Number of looks without such a fall before it is time to stop.
    """

    def __init__(self, tol, patience):
        self.tol = tol
        self.patience = patience
        self.best_loss = math.inf
        self._reference = math.inf
        self._best_state = None
        self._waited = 0

    def is_reached(self, loss, module):
        """Take note of a loss, and say whether to stop."""
        if loss < self.best_loss:
            self.best_loss = loss
            self._best_state = {k: v.detach().clone() for k, v in module.state_dict().items()}
        if loss < self._reference - self.tol:
            self._reference = loss
            self._waited = 0
        else:
            self._waited += 1
        return self._waited >= self.patience

    def restore(self, module):
        """Put the best state back."""
        if self._best_state is not None:
            module.load_state_dict(self._best_state)
