"""The gradient of the evidence lower bound for a linear decoder, derived by hand."""

from typing import Any, NamedTuple

import torch

from skvaeense.losses._base import Terms
from skvaeense.networks._dense import DenseAutoencoder
from skvaeense.priors import Mixture, StandardNormal


class _Layer(NamedTuple):
    """A linear layer: its tensors, and where their gradients are written."""

    weight: torch.Tensor
    bias: torch.Tensor
    weight_grad: torch.Tensor
    bias_grad: torch.Tensor


silu, silu_backward = torch.ops.aten.silu, torch.ops.aten.silu_backward


class LinearELBOGradient:
    """Compute the terms of `ELBO` and set gradients, for gated dense models.

    For a batch of n samples x, with means m, gate logits o, decoder W and b, noise variance g::

        v = sigmoid(o), s = sqrt(v), c = (1 - s) m, r = c W' + b - x, w_j = |W_j|^2, q = 2 / (n g)
        loss = [sum |r|^2 + sum (1 - s)^2 s^2 w] / (n g) + beta / n sum (v + m^2 - 1 - log v)

        dW = q (r'c + W diag(sum (1 - s)^2 s^2)),   db = q sum r,   G = r W
        dm = q (1 - s) G + 2 beta m / n
        do = [q (w (1 - s) s (1 - 2 s) - m G) s / 2 - beta (1 - v) / n] (1 - v)

    and through the layers of the encoder as usual. Everything is written to memory that is kept
    from step to step: at small sizes, taking new memory costs more than the arithmetic.

    Parameters
    ----------
    model : VAE
        The model, which `suits`.

    beta : float
        Weight of the divergence.
    """

    def __init__(self, model: Any, beta: float) -> None:
        self.model = model
        self.beta = beta
        self.n_samples = 0
        network = model.network
        for parameter in network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        # Without what autograd and modules add: parameters stay where they are in memory.
        *self.layers, self.heads, self.decoder = (
            _Layer(layer.weight.detach(), layer.bias.detach(), layer.weight.grad, layer.bias.grad)
            for layer in (*network.layers, network.heads, network.decoder)
        )
        self.has_shortcut = network.n_shortcuts == 1
        self.n_components = model.n_components

    @staticmethod
    def suits(model: Any) -> bool:
        """Return whether the formulas are those of a model."""
        network = model.network
        return (
            type(network) is DenseAutoencoder
            and network.n_shortcuts <= 1
            and len(network.layers) > 0
            and model.linear_decoder is not None
            and model.gated
            and not model.positive
            and type(model.prior) in (Mixture, StandardNormal)
        )

    def _allocate(self, x: torch.Tensor) -> None:
        n, k = len(x), self.n_components
        self.n_samples = n
        widths = [len(layer.bias) for layer in self.layers]
        n_hidden = widths[0] - self.has_shortcut * k
        self.outputs = [x.new_empty(n, width) for width in widths]
        self.output_grads = [x.new_empty(n, width) for width in widths]
        # What is activated: without the shortcut, which is the last columns of the first output.
        self.preactivations = [self.outputs[0][:, :n_hidden], *self.outputs[1:]]
        self.preactivation_grads = [self.output_grads[0][:, :n_hidden], *self.output_grads[1:]]
        self.shortcut = self.outputs[0][:, n_hidden:]
        self.shortcut_grad = self.output_grads[0][:, n_hidden:]
        self.hidden = [x.new_empty(n, part.shape[1]) for part in self.preactivations]
        self.hidden_grads = [torch.empty_like(hidden) for hidden in self.hidden]
        self.head_outputs, self.head_grads = x.new_empty(n, 2 * k), x.new_empty(n, 2 * k)
        self.mean, self.logit = self.head_outputs.split(k, dim=1)
        self.mean_grad, self.logit_grad = self.head_grads.split(k, dim=1)
        self.residual = torch.empty_like(x)
        self.variance, self.std, self.closing, self.openness, self.code, self.code_grad = (
            x.new_empty(n, k) for _ in range(6)
        )
        self.gate_std, self.work = x.new_empty(n, k), x.new_empty(n, k)
        self.one, self.minus_two = x.new_tensor(1.0), x.new_tensor(-2.0)
        self.least = torch.finfo(x.dtype).tiny

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> Terms:
        """Return the terms of a batch; nothing is drawn."""
        if len(x) != self.n_samples:
            self._allocate(x)
        self._encode(x)
        decoder, noise_variance = self.decoder, self.model.noise_variance
        n, work, mean = self.n_samples, self.work, self.mean
        mean_grad, logit_grad = self.mean_grad, self.logit_grad
        q, per_sample = 2 / (n * noise_variance), self.beta / n
        # 1 - v and 1 - s come from sigmoid(-o): differences would be rounded.
        v = torch.sigmoid(self.logit, out=self.variance).clamp_min_(self.least)
        s = torch.sqrt(v, out=self.std)
        closing = torch.neg(self.logit, out=self.closing).sigmoid_()
        openness = torch.div(closing, torch.add(s, self.one, out=work), out=self.openness)
        code = torch.mul(mean, openness, out=self.code)
        r = torch.addmm(decoder.bias, code, decoder.weight.T, out=self.residual).sub_(x)
        flat = r.view(-1)
        squared = torch.dot(flat, flat)
        # The decoder.
        torch.mm(r.T, code, out=decoder.weight_grad)
        torch.sum(r, 0, out=decoder.bias_grad).mul_(q)
        code_grad = torch.mm(r, decoder.weight, out=self.code_grad)
        gate_std = torch.mul(openness, s, out=self.gate_std)
        norms = torch.linalg.vecdot(decoder.weight, decoder.weight, dim=0)
        # The gate logits.
        torch.mul(mean, code_grad, out=logit_grad)
        torch.addcmul(self.one, s, self.minus_two, out=work).mul_(gate_std).mul_(norms)
        torch.sub(work, logit_grad, out=logit_grad).mul_(s).mul_(0.5 * q)
        logit_grad.sub_(closing, alpha=per_sample).mul_(closing)
        spread = gate_std.square_().sum(dim=0)
        decoder.weight_grad.addcmul_(decoder.weight, spread).mul_(q)
        # The means.
        torch.mul(code_grad, openness, out=mean_grad).mul_(q)
        mean_grad.add_(mean, alpha=2 * per_sample)
        self._backpropagate(x)
        error = (squared + torch.dot(spread, norms)) / n
        divergence = torch.addcmul(v, mean, mean, out=work).sub_(v.log_()).sum() / n
        divergence -= self.n_components
        loss = error / noise_variance + self.beta * divergence
        return {"loss": loss, "error": error, "kl": 0.5 * divergence}

    def _encode(self, x: torch.Tensor) -> None:
        """Compute means and gate logits."""
        inputs = x
        for i, layer in enumerate(self.layers):
            torch.addmm(layer.bias, inputs, layer.weight.T, out=self.outputs[i])
            inputs = silu(self.preactivations[i], out=self.hidden[i])
        torch.addmm(self.heads.bias, inputs, self.heads.weight.T, out=self.head_outputs)
        if self.has_shortcut:
            self.mean.add_(self.shortcut)

    def _backpropagate(self, x: torch.Tensor) -> None:
        """Set the gradients of the encoder from those of its heads."""
        layers, inputs, grad = [*self.layers, self.heads], [x, *self.hidden], self.head_grads
        for i in reversed(range(len(layers))):
            if i < len(self.layers):
                silu_backward(
                    self.hidden_grads[i],
                    self.preactivations[i],
                    grad_input=self.preactivation_grads[i],
                )
                grad = self.output_grads[i]
                if i == 0 and self.has_shortcut:
                    self.shortcut_grad.copy_(self.mean_grad)
            torch.mm(grad.T, inputs[i], out=layers[i].weight_grad)
            torch.sum(grad, 0, out=layers[i].bias_grad)
            if i:
                torch.mm(grad, layers[i].weight, out=self.hidden_grads[i - 1])
