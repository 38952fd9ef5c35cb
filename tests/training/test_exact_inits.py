"""Weights with which an encoder computes exact inference in a mixture."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, generator
from scipy.special import softmax
from scipy.stats import multivariate_normal

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_affine_subspaces, make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations._explain import explain
from skvaeense.models import VAE
from skvaeense.networks import Subspaces
from skvaeense.samples._scaling import Scaling
from skvaeense.training._exact_inits import install_subspaces, subspace_network


def linear(dims, n_features, noise):
    X, _, dimension = make_linear_subspaces(
        1700, dims=dims, n_features=n_features, noise=noise, random_state=0
    )
    return X, dimension


def affine(noise, offset=3.0):
    X, _, dimension = make_affine_subspaces(
        1700, dims=(1, 3, 5), n_features=20, offset_scale=offset / np.sqrt(20), random_state=0
    )
    X += noise * np.sqrt(3 / 20) * np.random.default_rng(0).standard_normal(X.shape)
    return X, dimension


SAMPLES = {
    "exact": lambda: linear((3, 5, 9), 30, 0.0),
    "crowded": lambda: linear((4,) * 6, 15, 0.02),
    "affine and noisy": lambda: affine(0.05),
    "affine and far apart": lambda: affine(0.02, 30.0),
}


@cache
def explained_samples(name):
    """Return samples, new ones, the dimensions of these, a scaling, and an explanation."""
    X, dimension = SAMPLES[name]()
    X, new = X[:1200], X[1200:]
    explained, scaling = explain(X, 256, may_have_gates=False), Scaling.from_data(X)
    assert explained.coder == "mixture"
    if explained.locations is not None:
        scaling = scaling.at(explained.locations, X)
    return X, new, dimension[1200:], scaling, explained


class Installed:
    """An untrained model with its computed weights, and the exploration behind it."""

    def __init__(self, name, dtype=torch.float64, n_spare=0):
        self.X, self.new, self.dimension, scaling, self.raw = explained_samples(name)
        self.scaling, self.explained = scaling, self.raw.within(scaling.mean, scaling.scale)
        self.network = subspace_network(self.explained)
        self.n_latents = sum(self.network.ranks)
        sizes = self.X.shape[1], self.n_latents + n_spare
        self.model = VAE(self.network, *sizes, generator=generator()).to(dtype).eval()
        install_subspaces(self.model.network, self.explained, len(self.X))
        # Samples as the network gets them, and relative to one common point.
        self.x = scaling.apply(self.new, dtype=dtype, device="cpu")
        self.z = (self.new - scaling.mean) / scaling.scale
        with torch.no_grad():
            self.posterior = self.model.posterior(self.x)
            self.responsibilities = self.model.network.log_responsibilities(self.x).exp()
        self.locations, self.labels = self.explained.locations, scaling.locate(self.new)
        self.shifts = 0.0 if self.labels is None else self.locations.points[self.labels]

    def by_part(self, responsibilities):
        """Return the summed responsibilities of the components of each part."""
        k = len(self.explained.parts)
        own = [responsibilities[:, self.groups == g].sum(axis=1) for g in range(k)]
        return np.stack(own, axis=1)

    def latents_by_part(self):
        """Yield the index of each part, the part, and the slice of its latents."""
        start = 0
        for k, part in enumerate(self.explained.parts):
            yield k, part, slice(start, start + len(part.variances))
            start += len(part.variances)

    @property
    def groups(self):
        return self.explained.groups


@pytest.fixture(scope="module", params=SAMPLES)
def installed(request):
    """Return models for samples of several kinds."""
    return Installed(request.param)


def test_network_has_a_latent_for_each_direction_and_counts_are_right(installed):
    counts = (installed.posterior.gate_logit < 0).sum(dim=1).numpy()
    assert (counts == installed.dimension).mean() > 0.99
    ranks = [len(part.variances) for part in installed.explained.parts]
    assert sorted(ranks) == sorted(set(installed.dimension)) or ranks == [4] * 6
    assert installed.network.ranks == tuple(ranks)
    assert installed.network.subspaces == tuple(installed.groups)


def test_responsibilities_are_those_of_the_parts(installed):
    """Each part is a normal distribution at its mean, relative to the location of a sample."""
    joint = []
    for c, part in enumerate(installed.explained.pieces):
        covariance = part.noise_variance * np.eye(len(part.mean))
        covariance += part.basis.T * (part.variances - part.noise_variance) @ part.basis
        shift, locations = 0.0, installed.locations
        if locations is not None:
            shift = locations.points[locations.groups[c]]
        own = multivariate_normal(part.mean - shift, covariance, allow_singular=True)
        joint.append(own.logpdf(installed.z - installed.shifts) + np.log(part.weight))
    expected = softmax(np.stack(joint, axis=1), axis=1)
    np.testing.assert_allclose(installed.responsibilities.numpy(), expected, atol=1e-5)


def test_responsibilities_are_about_those_of_the_density(installed):
    """The density is estimated slightly differently, and includes the locations."""
    expected = softmax(installed.raw.density.log_joint(installed.new), axis=1)
    found = installed.by_part(installed.responsibilities.numpy())
    expected = installed.by_part(expected)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99
    assert np.abs(found - expected).mean() < 0.01


def test_variances_are_those_of_the_posterior(installed):
    """In the subspace of a sample, the noise over the variance of each direction; elsewhere 1."""
    variance = installed.posterior.std.square().numpy()
    shares = installed.by_part(installed.responsibilities.numpy())
    for k, part, own in installed.latents_by_part():
        expected = 1 - shares[:, k, None] * (1 - part.noise_variance / part.variances)
        np.testing.assert_allclose(variance[:, own], expected, rtol=1e-6, atol=1e-12)


def test_reconstructions_are_projections(installed):
    """A sample is projected onto its part, up to the uncertainty from noise."""
    with torch.no_grad():
        found = installed.model.decode(installed.model.code(installed.posterior)).numpy()
    found, n_checked = found + installed.shifts, 0
    shares = installed.by_part(installed.responsibilities.numpy())
    for k, part, _ in installed.latents_by_part():
        own = shares[:, k] > 1 - 1e-6
        projected = part.mean + (installed.z[own] - part.mean) @ part.basis.T @ part.basis
        error = np.sqrt(np.square(found[own] - projected).mean(axis=1))
        assert (error < 0.5 * np.sqrt(part.noise_variance) + 2e-5).all()
        n_checked += own.sum()
    assert n_checked > 0.9 * len(installed.new)


def test_latents_are_standard_normal(installed):
    """Over the rows of its subspace, each latent has the second moment of the prior."""
    x = installed.scaling.apply(installed.X, dtype=torch.float64, device="cpu")
    with torch.no_grad():
        posterior = installed.model.posterior(x)
    mean, std = posterior.mean.numpy(), posterior.std.numpy()
    for _, _, own in installed.latents_by_part():
        is_in = (std[:, own] < 0.9).all(axis=1)
        second = np.square(mean[is_in, own]) + np.square(std[is_in, own])
        np.testing.assert_allclose(second.mean(axis=0), 1, atol=4 * np.sqrt(2 / is_in.sum()))


# --- spare latents, and precision ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["crowded", "affine and noisy"])
def test_spare_latents_are_closed(name):
    """They change no output."""
    installed, plain = Installed(name, n_spare=3), Installed(name)
    n = installed.n_latents
    assert (installed.posterior.mean[:, n:] == 0).all()
    assert (installed.posterior.std[:, n:] == 1).all()
    assert (installed.model.code(installed.posterior)[:, n:] == 0).all()
    torch.testing.assert_close(installed.posterior.mean[:, :n], plain.posterior.mean)
    torch.testing.assert_close(installed.posterior.std[:, :n], plain.posterior.std)


@pytest.mark.parametrize("name", ["exact", "affine and far apart"])
def test_single_precision_answers_alike(name):
    single, double = Installed(name, torch.float32), Installed(name)
    counts = [(one.posterior.gate_logit < 0).sum(dim=1) for one in (single, double)]
    assert (counts[0] == counts[1]).float().mean() > 0.99
    error, kl = single.model.elbo(single.x)
    assert torch.isfinite(error).all()
    assert torch.isfinite(kl).all()


@pytest.mark.parametrize(("name", "distance"), [("exact", 1e3), ("affine and noisy", 1e6)])
def test_single_precision_is_finite_far_away(name, distance):
    """Gradients are finite, too."""
    installed = Installed(name, torch.float32)
    model = installed.model
    x = torch.cat([distance * installed.x, distance * torch.eye(installed.x.shape[1])])
    posterior = model.posterior(x)
    error, kl = model.elbo(x, posterior=posterior)
    (error.mean() + kl.mean()).backward()
    for values in (*posterior, model.code(posterior), error, kl):
        assert torch.isfinite(values).all()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


# --- fits ---------------------------------------------------------------------------------------


# None leaves the number to the fit; room for more latents is left closed.
@pytest.mark.parametrize("n_components", [None, 9])
def test_fits_begin_there(n_components):
    X, dimension = linear((2, 4), 12, 0.02)
    fitted = VAEenseTransformer(n_components, random_state=0).fit(X[:1200])
    assert isinstance(fitted.module_.config["network"], Subspaces)
    active = fitted.active_dimensions(X[1200:])
    assert active.shape[1] == fitted.n_components_ == (n_components or 6)
    assert not active[:, 6:].any()
    assert (active.sum(axis=1) == dimension[1200:]).mean() > 0.99


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_too_few_latents_for_the_subspaces_are_principal_components():
    X, _ = linear((2, 4), 12, 0.02)
    fitted = VAEenseTransformer(5, prior="mixture", max_iter=2, random_state=0).fit(X)
    assert fitted.module_.config["network"].ranks == (5,)
    assert fitted.n_components_ == 5


def test_parts_that_lie_too_far_apart_for_locations_are_no_mixture():
    """Their extent is within the rounding errors of their distance."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, r)) @ rng.normal(size=(r, 6)) for n, r in ((800, 2), (200, 3))]
    for offset, explanation in ((1e3, "mixture"), (1e7, "points")):
        X = rng.permutation(np.r_[parts[0], parts[1] + offset])
        fitted = VAEenseTransformer(prior="mixture", random_state=0).fit(X)
        assert fitted.explanation_ == explanation
        assert hasattr(fitted, "locations_") == (explanation == "mixture")
        residual = X - fitted.inverse_transform(fitted.transform(X))
        assert np.square(residual).mean() < 1e-3 * fitted.scale_**2


def test_one_flat_has_the_directions_that_stand_out_of_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6)) + 0.01 * rng.normal(size=(500, 6))
    found = explain(X, 256, may_have_gates=False)
    for most, expected in ((1, 1), (6, 2)):
        (part,) = found.as_one_flat(X, most).parts
        assert part.basis.shape == (expected, 6)
    assert part.noise_variance == pytest.approx(1e-4, rel=0.2)
    # All directions count if they are equal, and at least one if nothing varies.
    for X, expected in ((rng.normal(size=(500, 6)), 6), (np.ones((5, 6)), 1)):
        (part,) = explain(X, 256, may_have_gates=False).as_one_flat(X, 6).parts
        assert len(part.variances) == expected


@pytest.mark.slow
def test_a_fit_of_a_dictionary_counts_its_atoms():
    X, _, dimension = make_sparse_dictionary(
        1500, n_atoms=12, n_active=(1, 3), n_features=12, random_state=0
    )
    fitted = VAEenseTransformer(random_state=0).fit(X[:1000])
    assert fitted.explanation_ == "gates"
    counts = fitted.active_dimensions(X[1000:]).sum(axis=1)
    assert (counts == dimension[1000:]).mean() > 0.8
    # There may be too few latents for the atoms.
    few = fit_unwarned(VAEenseTransformer(6, max_iter=2, random_state=0), X[:1000])
    assert few.n_components_ == 6
