"""Training of the default model, from the best explanation of the samples."""

import torch

from skvaeense import priors
from skvaeense.samples._devices import resolve_device
from skvaeense.training._exact_inits import install_subspaces, subspace_network
from skvaeense.training._noise import best_noise, followed_noise, validation_terms
from skvaeense.training._phase import Phase
from skvaeense.training._sizes import EXACT_RATE, EXACT_STEPS, MAX_COMPONENTS
from skvaeense.utils._torch import make_generator

# Share of the variance that codes keep by default if nothing explains the samples.
DEFAULT_SHARE = 0.95


def is_explained(estimator, explored):
    """Return whether training starts from an explanation of the samples, not from random inits."""
    is_gaussian = isinstance(estimator._resolved_prior(), priors.Mixture)
    is_flat = explored.kind in ("mixture", "points") or explored.is_flat
    return explored.gates is not None or is_gaussian or is_flat


def train_explained(estimator, data, session):
    """Train from the flat parts of the samples, from their gates, or codes that keep a share.

    Parameters
    ----------
    estimator : VAEenseTransformer
        The estimator that is fitted.

    data : FitData
        The explored samples.

    session : FitSession
        The session of the fit.

    Returns
    -------
    Trainer or GateTrainer
        The trainer of the kept model.
    """
    explored = data.explored
    seeds = session.random_state.randint(2**31 - 1, size=2).tolist()
    if explored.gates is not None:
        return _train_gates(estimator, data, session, seeds, None, explored.gates)
    is_final = not estimator._trains_gates
    is_flat = explored.is_flat and not estimator.positive_code
    if is_final or explored.kind in ("mixture", "points") or is_flat:
        n_epochs = estimator._epochs(data, EXACT_STEPS)
        session.begin(n_epochs)
        trainer = _flats(estimator, data, seeds)
        phase = Phase(trainer, n_epochs, estimator._plateau(), from_start=True)
        trainer = session.train(phase).result()
        is_final = is_final or explored.kind == "points" or session.stopped
        if is_final or explains_most(trainer.model, data):
            return trainer
        # Several flat parts can leave most of the variance as noise.
        explored.kind = "dense"
    return _train_gates(estimator, data, session, seeds, DEFAULT_SHARE)


def _train_gates(estimator, data, session, seeds, share, gates=None):
    estimator = estimator._gate_estimator(share)
    trainer = estimator._gate_trainer(data, seeds, gates=gates)
    n_epochs = estimator._epochs_of(trainer)
    session.begin(n_epochs)
    return session.train(Phase(trainer, n_epochs, estimator._plateau(), is_watched=False)).result()


def _flats(estimator, data, seeds):
    """Return the trainer of a model for exact inference in the flat parts of samples.

    One flat part is used if several do not explain the samples.
    """
    explored = data.explored
    if explored.kind != "mixture":
        rows = data.train.head.cpu().double().numpy()
        explored = explored.as_one_flat(rows, estimator.n_components or MAX_COMPONENTS)
    network = subspace_network(explored)
    n_components = estimator.n_components or sum(network.ranks)
    model = estimator._make_model(data, seeds[1], network, n_components)
    install_subspaces(model.network, explored, len(data.train) + len(data.valid))
    error = best_noise(validation_terms(model, data.valid), data.valid.shape[1])
    noise = followed_noise(error, error, learned=True, follow=1.0)
    generator = make_generator(seeds[0], resolve_device(estimator.device))
    return estimator._trainer(model, noise, EXACT_RATE, generator, data)


@torch.no_grad()
def explains_most(model, data):
    """Return whether codes explain more of held-out samples than they leave."""
    x = data.valid
    left = x - model.decode(model.code(model.inferred(x)))
    surplus = float(x.square().sum() - 2 * left.square().sum())
    return data.processes.broadcast_scalar(surplus) >= 0
