"""Rules for every model: it can be made again, copied, moved and converted."""

import copy
import io
import json
import pickle

import pytest
import torch
from helpers import draw, make_coder, make_vae
from sklearn.base import BaseEstimator

from skvaeense.nets.models import VAE, as_number
from skvaeense.nets.networks import MLP, Linear, SingleLayer
from skvaeense.nets.penalties import L1, BatchTopK, JumpReLU
from skvaeense.utils._torch import make_generator

MODELS = {
    "vae": lambda seed=0: make_vae(seed=seed),
    "ungated vae": lambda seed=0: make_vae(MLP((4,)), gated=False, positive=True, seed=seed),
    "jump relu": lambda seed=0: make_coder(JumpReLU(), seed=seed),
    "batch topk": lambda seed=0: make_coder(BatchTopK(3), Linear((4,)), positive=False, seed=seed),
}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


@torch.no_grad()
def outputs(model, x):
    if isinstance(model, VAE):
        return model.posterior(x), model.elbo(x)
    return model.coding(x)[1:3]


def assert_same(one, other):
    assert type(one) is type(other)
    states = one.state_dict(), other.state_dict()
    torch.testing.assert_close(*states, rtol=0, atol=0)
    x = draw(4, 5)
    torch.testing.assert_close(outputs(one, x), outputs(other, x), rtol=0, atol=0)


def test_made_again_from_configuration_and_state(make):
    model = make()
    other = type(model).from_state(model.config, model.state_dict())
    assert_same(other, model.eval())
    assert other.config == model.config
    # The configuration contains only specifications, numbers and strings.
    for value in model.config.values():
        json.dumps(value.get_params() if isinstance(value, BaseEstimator) else value)
    assert not other.training
    assert all(parameter.requires_grad for parameter in other.parameters())


def test_a_state_must_fit(make):
    model = make()
    state = model.state_dict()
    name = next(iter(state))
    with pytest.raises(RuntimeError, match="Missing key"):
        type(model).from_state(model.config, {k: v for k, v in state.items() if k != name})
    with pytest.raises(RuntimeError, match="size mismatch"):
        type(model).from_state(model.config, state | {name: torch.zeros(9, 9, 9)})


@pytest.mark.parametrize("training", [True, False])
def test_copies_are_the_same_and_their_own(make, training):
    for move in (copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))):
        model = make().train(training)
        other = move(model)
        assert all(module.training is training for module in other.modules())
        assert_same(other, model)
        before = copy.deepcopy(model.state_dict())
        with torch.no_grad():
            for tensor in other.state_dict().values():
                tensor.zero_()
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_pickles_have_arrays_in_place_of_tensors(make):
    """Some readers of pickles create objects without calling their classes."""
    read = []

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            read.append(module.partition(".")[0])
            return super().find_class(module, name)

    Unpickler(io.BytesIO(pickle.dumps(make()))).load()
    assert "torch" not in read
    assert {"numpy", "skvaeense"} <= set(read)


def test_weights_come_from_the_generator(make):
    before = torch.random.get_rng_state()
    model, other = make(), make(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(model, make())
    assert any(
        not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


# --- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name"),
    [(MODELS["vae"], "noise_variance"), (lambda: make_coder(L1(0.3)), "alpha")],
    ids=["vae", "sparse coder"],
)
def test_numbers_stay_in_double_precision(make, name):
    model = make()
    setattr(model, name, as_number(0.1))
    for move in (lambda m: m.float(), lambda m: m.to(dtype=torch.bfloat16), lambda m: m.to("meta")):
        moved = move(model)
        number = getattr(moved, name)
        assert number.dtype is torch.float64
        assert number.device == torch.device("cpu")
        assert float(number) == 0.1
        assert float(moved.state_dict()[name]) == 0.1
    assert next(model.parameters()).dtype is torch.bfloat16
    assert next(model.parameters()).device.type == "meta"


def test_a_tensor_is_a_number_where_it_is():
    tensor = torch.tensor(0.1)
    assert as_number(tensor) is tensor
    assert as_number(0.1).dtype is torch.float64


def test_a_model_whose_weights_will_be_loaded_takes_no_memory():
    model = VAE(Linear(), 1000, 200)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    loaded = VAE.from_state(
        model.config, VAE(**model.config, generator=make_generator(0)).state_dict()
    )
    assert all(tensor.device.type == "cpu" for tensor in loaded.state_dict().values())


def test_loaded_tensors_are_not_copied():
    model = make_coder(L1(), SingleLayer())
    state = model.state_dict()
    other = type(model).from_state(model.config, state)
    for name, tensor in other.state_dict().items():
        assert tensor.data_ptr() == state[name].data_ptr()
