"""The models that follow from what explains the samples."""

from skvaeense import priors
from skvaeense.samples._devices import resolve_device
from skvaeense.training._exact_inits import install_subspaces, subspace_network
from skvaeense.training._hooks import best_noise, followed_noise, validation_terms
from skvaeense.training._session import Phase
from skvaeense.training._sizes import MAX_COMPONENTS
from skvaeense.utils._torch import make_generator

# Share of the variance that codes keep by default if nothing explains the samples.
DEFAULT_SHARE = 0.95


def coder_of(estimator, explained):
    """Return the name of what gives the codes; None if a model is trained from random inits.

    Without a share to keep, latents are the principal components of a "normal" distribution.
    """
    if explained.coder != "share" or estimator._trains_gates:
        return explained.coder
    return "normal" if isinstance(estimator._resolved_prior(), priors.Mixture) else None


def fit_coder(estimator, data, session):
    """Fit the model that gives the codes.

    Parameters
    ----------
    estimator : VAEenseTransformer
        The estimator that is fitted.

    data : FitData
        The explained samples.

    session : FitSession
        The session of the fit.

    Returns
    -------
    Trainer or GateTrainer
        The trainer of the model.
    """
    seeds = session.random_state.randint(2**31 - 1, size=2).tolist()
    gates = data.explained.gates
    if gates is None and coder_of(estimator, data.explained) != "share":
        trainer, n_epochs, n_records = _subspaces(estimator, data, seeds), 1, data.n_records
    else:
        share = DEFAULT_SHARE if gates is None else None
        estimator = estimator._gate_estimator(share)
        trainer = estimator._gate_trainer(data, seeds, gates=gates)
        n_epochs, n_records = estimator._epochs_of(trainer), 1
    session.begin(n_epochs, n_records)
    return session.train(Phase(trainer, n_epochs, is_watched=False)).result()


def _subspaces(estimator, data, seeds):
    """Return the trainer of a model for exact inference in flat parts: of its one epoch, at rate 0.

    Unless several parts are clear, there is one, along the first principal directions.
    """
    explained = data.explained
    if explained.coder != "mixture":
        rows = data.train.head.cpu().double().numpy()
        explained = explained.as_one_flat(rows, estimator.n_components or MAX_COMPONENTS)
    network = subspace_network(explained)
    n_components = estimator.n_components or sum(network.ranks)
    model = estimator._make_model(data, seeds[1], network, n_components)
    install_subspaces(model.network, explained, len(data.train) + len(data.valid))
    error = best_noise(validation_terms(model, data.valid), data.valid.shape[1])
    noise = followed_noise(error, error, learned=True, follow=1.0)
    generator = make_generator(seeds[0], resolve_device(estimator.device))
    return estimator._trainer(model, noise, 0.0, generator, data)
