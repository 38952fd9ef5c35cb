"""Gates, slabs and noise learned in closed form, compared with numpy."""

import numpy as np
import pytest
import torch
from helpers import draw, generator

from skvaeense.losses import ELBO
from skvaeense.models import SpikeSlabVAE
from skvaeense.networks import MeanField
from skvaeense.optimizers import Adam
from skvaeense.priors import SpikeSlab
from skvaeense.schedules import Cosine
from skvaeense.training._closed_forms import ClosedForms, SilentLatents
from skvaeense.training._trainer import Step, Trainer

N_FEATURES, N_COMPONENTS, N_SAMPLES = 6, 9, 50


def make(prior=None, **params):
    """Return a model and its trainer."""
    prior = SpikeSlab(memory=0.5, hold=0.0, pooling=0.0) if prior is None else prior
    sizes = MeanField(), N_FEATURES, N_COMPONENTS
    model = SpikeSlabVAE(*sizes, prior=prior, generator=generator(), **params).double().train()
    settings = {"optimizer": Adam(), "learning_rate": 0.1, "schedule": Cosine()}
    return model, Trainer(model, ELBO(), generator=generator(), **settings)


def take_step(trainer, hook, fraction_done, x=None):
    x = 2 * draw(N_SAMPLES, N_FEATURES) if x is None else x
    hook.before_loss(trainer, fraction_done)
    with torch.no_grad():
        terms = trainer.loss.terms(trainer.model, x, generator=generator())
    hook.after_step(trainer, Step(x, terms, fraction_done, generator()))
    return x, terms


def test_gates_and_slabs_follow_their_closed_forms():
    model, trainer = make()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = 2 * draw(N_SAMPLES, N_FEATURES)
    with torch.no_grad():
        posterior = model.posterior(x)
    q, mean = posterior.probability.numpy(), posterior.mean.numpy()
    take_step(trainer, ClosedForms(model), 0.9, x)
    n, m = q.sum(axis=0), before["slab_mean"].numpy()
    weight = 0.5 * n / (1 + n)
    expected = 0.5 * (before["gate_probability"].numpy() + q.mean(axis=0))
    np.testing.assert_allclose(model.gate_probability, expected)
    best = (q * mean).sum(axis=0) / n
    m = m + weight * (best - m)
    np.testing.assert_allclose(model.slab_mean, m, atol=1e-12)
    best = (q * ((mean - m) ** 2 + posterior.variance.numpy())).sum(axis=0) / n
    t = before["slab_variance"].numpy()
    np.testing.assert_allclose(model.slab_variance, t + weight * (best - t))


def test_pooling_draws_probabilities_together():
    model, trainer = make(SpikeSlab(memory=0.5, hold=0.0, pooling=1.0))
    take_step(trainer, ClosedForms(model), 0.9)
    assert float(model.gate_probability.std()) == pytest.approx(0, abs=1e-12)


def test_gates_and_slabs_are_held_at_first():
    model, trainer = make(SpikeSlab(hold=0.3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hook = ClosedForms(model)
    take_step(trainer, hook, 0.29)
    for name in ("gate_probability", "slab_mean", "slab_variance"):
        assert torch.equal(model.state_dict()[name], before[name])
    take_step(trainer, hook, 0.3)
    assert not torch.equal(model.gate_probability, before["gate_probability"])


def test_noise_is_annealed_to_the_error(subtests):
    for fraction_done, factor in ((0.0, 4.0), (0.25, 2.0), (0.375, 2**0.5)):
        with subtests.test(fraction_done=fraction_done, factor=factor):
            model, trainer = make(SpikeSlab(memory=0.5, first_noise=4.0))
            hook = ClosedForms(model)
            _, terms = take_step(trainer, hook, fraction_done)
            error = float(terms["error"]) / N_FEATURES
            assert float(hook.value) == pytest.approx(0.5 * (1 + factor * error))
            take_step(trainer, hook, 0.0)
            assert hook.values() == {"noise_variance": float(hook.value)}


@pytest.mark.parametrize("first", [1.0, 5.0], ids=["alike", "one direction"])
def test_noise_is_what_is_left_along_a_direction(first):
    """If a direction stands out, this noise is larger than the mean over all directions."""
    scale = torch.tensor([first, 1, 1, 1, 1, 1])
    model, trainer = make()
    with torch.no_grad():
        model.network.decoder.weight.zero_()
    hook = ClosedForms(model)
    hook.memory = 0.02
    for i in range(400):
        take_step(trainer, hook, 0.9, draw(100, N_FEATURES, seed=i) * scale)
    variances = scale.square()
    expected = float(variances.square().sum() / variances.sum())
    assert float(hook.value) == pytest.approx(expected, rel=0.15)
    if first > 1:
        assert float(hook.value) > 2 * float(variances.mean())


def test_noise_that_is_given_stays():
    model, trainer = make()
    hook = ClosedForms(model, learned=False)
    take_step(trainer, hook, 0.9)
    assert float(hook.value) == 1.0


def test_prices_follow_the_number_of_open_gates():
    model, trainer = make(target_l0=[4, 0.1])
    hook = ClosedForms(model)
    take_step(trainer, hook, 0.2)
    assert model.first_prices.tolist() == [0.0, 0.0]
    with torch.no_grad():
        model.gate_probability.fill_(0.9)
    _, terms = take_step(trainer, hook, 0.25)
    excess = (terms["l0"].clamp_min(1e-5) / torch.tensor([4, 0.1]).double()).log()
    assert excess[1] > 0
    # Prices are never negative.
    torch.testing.assert_close(model.first_prices, 0.1 * excess.clamp_min(0.0), check_dtype=False)
    assert float(model.prices[0]) == float(model.first_prices[0])


def test_noise_falls_where_fewer_gates_are_open_than_are_asked_for():
    (_, without), (_, asked) = make(), make(target_l0=N_COMPONENTS)
    hooks = [ClosedForms(trainer.model) for trainer in (without, asked)]
    for i in range(60):
        for trainer, hook in zip((without, asked), hooks, strict=True):
            take_step(trainer, hook, 0.9, draw(N_SAMPLES, N_FEATURES, seed=i))
    assert float(asked.model.first_prices[0]) == 0
    assert float(hooks[1].value) < 0.5 * float(hooks[0].value)


def test_prices_follow_the_variance_that_is_left():
    model, trainer = make(target_explained_variance=0.9)
    hook = ClosedForms(model)
    take_step(trainer, hook, 0.5, 0.01 * draw(N_SAMPLES, N_FEATURES))
    assert float(model.first_prices[0]) > 0
    assert float(hook.value) == pytest.approx(0.1)
    # More than a tenth is unexplained, and the price cannot fall below 0, so the noise falls.
    for _ in range(100):
        take_step(trainer, hook, 0.5, 10 * draw(N_SAMPLES, N_FEATURES))
    assert float(model.first_prices[0]) == 0
    assert float(hook.value) < 0.1


def test_a_training_that_goes_on_holds_nothing():
    model, trainer = make(SpikeSlab(hold=0.3))
    before = model.gate_probability.clone()
    hook = ClosedForms(model, continues=True)
    take_step(trainer, hook, 0.0)
    assert not torch.equal(model.gate_probability, before)


def test_losses_that_say_nothing_of_gates():
    model, trainer = make()
    x = draw(N_SAMPLES, N_FEATURES)
    step = Step(x, {"loss": torch.ones(()), "error": torch.ones(())}, 0.5, generator())
    with pytest.raises(ValueError, match=r"prior='spike_slab' needs terms that .* does not return"):
        ClosedForms(model).after_step(trainer, step)


# --- silent latents ---------------------------------------------------------------------------


def test_silent_latents_begin_anew():
    model, trainer = make()
    x = 2 * draw(N_SAMPLES, N_FEATURES)
    hook, forms = SilentLatents(model), ClosedForms(model)
    for fraction_done in (0.0, 0.1):
        _, terms = take_step(trainer, forms, fraction_done, x)
        hook.after_step(trainer, Step(x, terms, fraction_done, generator()))
    with torch.no_grad():
        model.gate_probability[2] = 1e-5
        hook.use[2] = 0.0
    memories = trainer.optimizer.state[trainer.parameters.values]
    memories["exp_avg"] = torch.ones_like(trainer.parameters.values)
    before = model.network.decoder.weight.detach().clone()
    _, terms = take_step(trainer, forms, 0.2, x)
    terms["second_moment"][2] = 0.0
    hook.after_step(trainer, Step(x, terms, 0.2, generator()))
    changed = (model.network.decoder.weight.detach() != before).any(dim=0)
    assert changed.nonzero().ravel().tolist() == [2]
    assert float(model.network.decoder.weight[:, 2].detach().norm()) == pytest.approx(1)
    assert float(model.gate_probability[2]) > 1e-3
    part = trainer.parameters.part(memories["exp_avg"], model.network.decoder.weight)
    assert part[:, 2].tolist() == [0.0] * N_FEATURES
    assert float(part[:, 3].min()) == 1


def test_none_begins_anew_in_a_training_that_goes_on():
    model, trainer = make()
    hook = SilentLatents(model, continues=True)
    x = draw(N_SAMPLES, N_FEATURES)
    before = model.network.decoder.weight.detach().clone()
    _, terms = take_step(trainer, ClosedForms(model), 0.5, x)
    hook.after_step(trainer, Step(x, terms, 0.5, generator()))
    assert torch.equal(model.network.decoder.weight.detach(), before)
