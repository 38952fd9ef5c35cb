"""The base class of all models."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from skvaeense.networks._base import build_network
from skvaeense.utils._torch import evaluating


class Model(nn.Module):
    """A torch module with a network that encodes and decodes.

    It can be rebuilt from its configuration and its state.

    Parameters
    ----------
    config : dict
        The arguments of the constructor of the class, without the generator: specifications,
        numbers and strings.

    n_heads : int
        Number of outputs of the encoder for each latent.

    generator : torch.Generator or None
        The source of the random weights; None if they will be loaded.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.models import VAE
    >>> from skvaeense.networks import Linear
    >>> model = VAE(Linear((16,)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> copy = VAE.from_state(model.config, model.state_dict())
    >>> x = torch.ones(2, 5)
    >>> bool(torch.equal(copy.posterior(x).mean, model.posterior(x).mean))
    True
    """

    def __init__(
        self, config: dict[str, Any], *, n_heads: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.config = config
        self.n_features: int = config["n_features"]
        self.n_components: int = config["n_components"]
        self.n_targets: int | None = config.get("n_targets")
        self.positive: bool = config["positive"]
        self.n_heads = n_heads
        self.network = self._build_network(generator)

    def _build_network(self, generator: torch.Generator | None) -> Any:
        """Return the module that encodes and decodes."""
        return build_network(self.config, n_heads=self.n_heads, generator=generator)

    @classmethod
    def from_state(cls, config: dict[str, Any], state: Mapping[str, torch.Tensor]) -> Self:
        """Return the model with a given configuration and given tensors.

        Parameters
        ----------
        config : dict
            Configuration, as in the attribute `config`.

        state : dict of torch.Tensor
            Tensors, as `state_dict` returns them; they become the tensors of the model.

        Returns
        -------
        Model
            The model, in evaluation mode.

        Raises
        ------
        RuntimeError
            If names or shapes do not fit.

        ValueError
            If the configuration needs many more tensors than the state has.
        """
        model = cls.__new__(cls)
        model._restore(config, state)
        return model.eval()

    def _restore(self, config: dict[str, Any], state: Mapping[str, torch.Tensor]) -> None:
        # The meta device allocates nothing: weights will be replaced, and the given ones may turn
        # out not to fit.
        init: Any = type(self).__init__
        with torch.device("meta"), _Counted(len(state)):
            init(self, **config, generator=None)
        self.load_state_dict(state, assign=True)
        if self._lacks_tensors():
            init(self, **config, generator=None)
            self.load_state_dict(state, assign=True)

    def _lacks_tensors(self) -> bool:
        """Return whether a part, such as a user's network, has tensors outside its state."""
        values = (v for m in self.modules() for v in (*vars(m).values(), *m.buffers(recurse=False)))
        return any(isinstance(value, torch.Tensor) and value.is_meta for value in values)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move and convert all tensors except numbers, which stay in double precision on the CPU.

        Torch combines tensors without dimensions with tensors of any device.
        """
        numbers = {k: b for k, b in self._buffers.items() if b is not None and b.ndim == 0}
        super()._apply(fn, recurse)
        self._buffers.update({k: b for k, b in numbers.items() if b.dtype is torch.float64})
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration and arrays, for pickling.

        Some unpicklers make objects without calling their classes, and then set attributes. This
        works for arrays, but not for tensors.
        """
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}
        return {"config": self.config, "arrays": arrays, "training": self.training}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = {name: torch.tensor(np.asarray(a)) for name, a in state["arrays"].items()}
        self._restore(state["config"], tensors)
        self.train(state["training"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy tensors as they are, on their devices."""
        memo[id(self)] = other = type(self).__new__(type(self))
        vars(other).update(copy.deepcopy(vars(self), memo))
        return other

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of a code.

        Parameters
        ----------
        code : torch.Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features) or (n_samples, n_targets)
            Reconstructions, of the target if there is one.
        """
        return self.network.decode(code)

    def initialize(self, x: torch.Tensor) -> None:
        """Let the network set its first weights from samples, if it can.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features) or (n_samples, n_features + n_targets)
            Centred and scaled training samples, followed by their target, if there is one.
        """
        x = x[:, : self.n_features]
        if hasattr(self.network, "initialize"):
            self.network.initialize(x)
        with evaluating(self):
            self._check_shapes(x[:2].to(next(self.parameters())))

    def _check_shapes(self, x: torch.Tensor) -> None:
        """Raise an error if the network, which may be a user's, returns wrong shapes."""
        code = x.new_zeros(len(x), self.n_components)
        network, expected = self.network, self.n_heads * (code,)
        check_shapes(self.config["network"], "encode", network.encode, x, expected)
        decoded = x if self.n_targets is None else x.new_zeros(len(x), self.n_targets)
        check_shapes(self.config["network"], "decode", network.decode, code, decoded)

    def calibrate(self, x: torch.Tensor, n_new: int | None = None) -> None:
        """Set values that are used after training, such as thresholds.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        n_new : int or None, default=None
            Number of held-out samples, which come first. None means all samples.
        """
        with evaluating(self):
            self._calibrate(x, len(x) if n_new is None else n_new)

    def _calibrate(self, x: torch.Tensor, n_new: int) -> None:
        if hasattr(self.network, "calibrate"):
            self.network.calibrate(x)

    @property
    def length(self) -> float | None:
        """The mean number of active latents that the model was made for, or None."""
        return None

    @property
    def loss_unit(self) -> float | torch.Tensor:
        """A loss of 1, as a fraction of the variance of the samples."""
        return 1.0

    @property
    def linear_decoder(self) -> nn.Linear | None:
        """The decoder, if it is one linear layer."""
        decoder = getattr(self.network, "decoder", None)
        return decoder if isinstance(decoder, nn.Linear) else None


class _Counted(TorchFunctionMode):
    """Raise an error if many more tensors are made than a state has.

    So the size of a state bounds the size of the module. The bound is loose, as some tensors are
    replaced and others are outside the state. Like any mode of torch, this one affects one thread.
    """

    def __init__(self, n_tensors: int) -> None:
        super().__init__()
        self.n_tensors = n_tensors
        self.n_left = 100 * (n_tensors + 1)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # Other functions, such as the one that turns gradients on again, must not fail.
        if func in (torch.empty, torch.full, torch.ones, torch.tensor, torch.zeros):
            self.n_left -= 1
            if self.n_left < 0:
                raise ValueError(
                    f"the model has many more tensors than the {self.n_tensors} that are given"
                )
        return func(*args, **(kwargs or {}))


def arguments(variables: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model, given the local variables of its constructor."""
    others = "self", "generator", "__class__"
    return {name: value for name, value in variables.items() if name not in others}


def check_shapes(
    part: Any, name: str, function: Any, argument: torch.Tensor, expected: Any
) -> None:
    """Raise an error unless a function of a part's module returns tensors of expected shapes."""

    def described(value: Any) -> str:
        if isinstance(value, tuple | list):
            return f"({', '.join(map(described, value))},)"
        return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__

    try:
        found = described(function(argument))
    except RuntimeError as error:
        found = f"an error: {error}"
    if found != described(expected):
        raise ValueError(
            f"{name} of the module that {part!r} builds must return shape(s) "
            f"{described(expected)} for an argument of shape {described(argument)}, got {found}."
        )


def as_number(value: float | torch.Tensor) -> torch.Tensor:
    """Return a number as a tensor that a model keeps in double precision.

    A tensor stays on its device, so that nothing has to wait for its value.
    """
    if isinstance(value, torch.Tensor):
        return value
    return torch.tensor(float(value), dtype=torch.float64, device="cpu")
