import numpy as np
import pytest
import torch

from skvaeense.optimizers import SGD, Adam, Optimizer

GRADIENTS = np.array([1.0, -3.0, 0.5, 0.5])


def steps_of(optimizer, learning_rate=0.1):
    """Return the values of a weight that starts at 2, after each gradient."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    built, path = optimizer.build([weight]), []
    for gradient in GRADIENTS:
        built.param_groups[0]["lr"] = learning_rate
        weight.grad = torch.tensor([gradient])
        built.step()
        path.append(weight.item())
    return path


def test_adam_follows_its_formula(subtests):
    for beta1, beta2, eps, weight_decay in (
        (0.9, 0.999, 1e-8, 0.0),
        (0.0, 0.9, 1e-3, 0.5),
        (0.5, 0.0, 0.1, 0.0),
    ):
        with subtests.test(beta1=beta1):
            weight, mean, square, expected = 2.0, 0.0, 0.0, []
            for i, gradient in enumerate(GRADIENTS, start=1):
                mean = beta1 * mean + (1 - beta1) * gradient
                square = beta2 * square + (1 - beta2) * gradient**2
                weight -= 0.1 * weight_decay * weight
                weight -= 0.1 * (mean / (1 - beta1**i)) / (np.sqrt(square / (1 - beta2**i)) + eps)
                expected.append(weight)
            adam = Adam(beta1, beta2, eps=eps, weight_decay=weight_decay)
            assert steps_of(adam) == pytest.approx(expected)


def test_sgd_follows_its_formula(subtests):
    for momentum in (0.0, 0.9):
        with subtests.test(momentum=momentum):
            weight, velocity, expected = 2.0, 0.0, []
            for gradient in GRADIENTS:
                velocity = momentum * velocity + gradient
                weight -= 0.1 * velocity
                expected.append(weight)
            assert steps_of(SGD(momentum)) == pytest.approx(expected)


def test_resolve_optimizer():
    adam = Adam(0.5)
    assert Optimizer.resolve(adam) is adam
    assert isinstance(Optimizer.resolve("adam"), Adam)
    assert isinstance(Optimizer.resolve("sgd"), SGD)
    with pytest.raises(ValueError, match=r"Optimizer must be one of \['adam', 'sgd'\] or"):
        Optimizer.resolve("lbfgs")


def test_parameters_are_checked(subtests):
    for optimizer, name in (
        (Adam(beta1=1.0), "beta1"),
        (Adam(beta2=-0.1), "beta2"),
        (Adam(eps=0.0), "eps"),
        (Adam(weight_decay=-1.0), "weight_decay"),
        (SGD(momentum=1.0), "momentum"),
    ):
        with (
            subtests.test(optimizer=optimizer, name=name),
            pytest.raises(
                ValueError, match=f"The '{name}' parameter of {type(optimizer).__name__}"
            ),
        ):
            Optimizer.resolve(optimizer)


def test_an_optimizer_says_what_it_builds():
    with pytest.raises(TypeError, match="build"):
        Optimizer()
