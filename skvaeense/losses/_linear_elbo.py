"""The gradient of the evidence lower bound for a linear decoder, derived by hand."""

from typing import Any

import torch

from skvaeense.losses._base import Terms
from skvaeense.networks._dense import DenseAutoencoder
from skvaeense.priors import StandardNormal

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
            and type(model.prior) is StandardNormal
        )

    def _allocate(self, x: torch.Tensor) -> None:
        network, n, k = self.model.network, len(x), self.model.n_components
        self.n_samples = n
        widths = [layer.out_features for layer in network.layers]
        self.n_hidden = widths[0] - network.n_shortcuts * k
        self.outputs = [x.new_empty(n, width) for width in widths]
        self.output_grads = [x.new_empty(n, width) for width in widths]
        # What is activated: without the shortcuts, which are further columns of the first outputs.
        self.preactivations = [self.outputs[0][:, : self.n_hidden], *self.outputs[1:]]
        self.preactivation_grads = [self.output_grads[0][:, : self.n_hidden]]
        self.preactivation_grads += self.output_grads[1:]
        self.hidden = [
            torch.empty_like(p, memory_format=torch.contiguous_format) for p in self.preactivations
        ]
        self.hidden_grads = [torch.empty_like(h) for h in self.hidden]
        self.heads, self.head_grads = x.new_empty(n, 2 * k), x.new_empty(n, 2 * k)
        self.residual = torch.empty_like(x)
        names = "variance", "std", "closing", "openness", "code", "code_grad", "spread", "work"
        for name in names:
            setattr(self, name, x.new_empty(n, k))
        self.one, self.minus_two = x.new_tensor(1.0), x.new_tensor(-2.0)
        self.least = torch.finfo(x.dtype).tiny

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> Terms:
        """Return the terms of a batch; nothing is drawn."""
        if len(x) != self.n_samples or x.dtype != self.residual.dtype:
            self._allocate(x)
        n, k = len(x), self.model.n_components
        decoder, noise_variance = self.model.network.decoder, self.model.noise_variance
        mean, logit = self._encode(x)
        mean_grad, logit_grad = self.head_grads[:, :k], self.head_grads[:, k:]
        q, per_sample = 2 / (n * noise_variance), self.beta / n
        # 1 - v and 1 - s come from sigmoid(-o): differences would be rounded.
        v = torch.sigmoid(logit, out=self.variance).clamp_min_(self.least)
        s = torch.sqrt(v, out=self.std)
        torch.neg(logit, out=self.closing).sigmoid_()
        torch.add(s, self.one, out=self.work)
        openness = torch.div(self.closing, self.work, out=self.openness)
        code = torch.mul(mean, openness, out=self.code)
        r = torch.addmm(decoder.bias, code, decoder.weight.T, out=self.residual).sub_(x)
        squared = torch.dot(r.view(-1), r.view(-1))
        # The decoder.
        torch.mm(r.T, code, out=decoder.weight.grad)
        torch.sum(r, 0, out=decoder.bias.grad).mul_(q)
        torch.mm(r, decoder.weight, out=self.code_grad)
        gate_std = torch.mul(openness, s, out=self.spread)
        norms = decoder.weight.square().sum(dim=0)
        # The gate logits.
        torch.mul(mean, self.code_grad, out=logit_grad)
        torch.addcmul(self.one, s, self.minus_two, out=self.work).mul_(gate_std).mul_(norms)
        torch.sub(self.work, logit_grad, out=logit_grad).mul_(s).mul_(0.5 * q)
        logit_grad.sub_(self.closing, alpha=per_sample).mul_(self.closing)
        spread = gate_std.square_().sum(dim=0)
        decoder.weight.grad.addcmul_(decoder.weight, spread).mul_(q)
        # The means.
        torch.mul(self.code_grad, openness, out=mean_grad).mul_(q)
        mean_grad.add_(mean, alpha=2 * per_sample)
        self._backpropagate(x, mean_grad)
        error = (squared + torch.dot(spread, norms)) / n
        divergence = torch.addcmul(v, mean, mean, out=self.work).sub_(v.log_()).sum() / n - k
        loss = error / noise_variance + self.beta * divergence
        return {"loss": loss, "error": error, "kl": 0.5 * divergence}

    def _encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return means and gate logits."""
        network, k = self.model.network, self.model.n_components
        inputs = x
        parts = zip(network.layers, self.outputs, self.preactivations, self.hidden, strict=True)
        for layer, output, preactivation, hidden in parts:
            torch.addmm(layer.bias, inputs, layer.weight.T, out=output)
            inputs = silu(preactivation, out=hidden)
        heads = torch.addmm(network.heads.bias, inputs, network.heads.weight.T, out=self.heads)
        mean = heads[:, :k]
        if network.n_shortcuts:
            mean.add_(self.outputs[0][:, self.n_hidden :])
        return mean, heads[:, k:]

    def _backpropagate(self, x: torch.Tensor, mean_grad: torch.Tensor) -> None:
        """Set the gradients of the encoder from those of its heads."""
        network, grad = self.model.network, self.head_grads
        layers = [*network.layers, network.heads]
        inputs = [x, *self.hidden]
        for i in reversed(range(len(layers))):
            if i < len(self.outputs):
                silu_backward(
                    self.hidden_grads[i],
                    self.preactivations[i],
                    grad_input=self.preactivation_grads[i],
                )
                grad = self.output_grads[i]
                if i == 0 and network.n_shortcuts:
                    grad[:, self.n_hidden :] = mean_grad
            torch.mm(grad.T, inputs[i], out=layers[i].weight.grad)
            torch.sum(grad, 0, out=layers[i].bias.grad)
            if i:
                torch.mm(grad, layers[i].weight, out=self.hidden_grads[i - 1])
