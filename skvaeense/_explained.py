"""Training of the default model, from the best explanation of the samples."""

import copy
import math

import numpy as np

from skvaeense import priors
from skvaeense.models import SpikeSlabVAE
from skvaeense.training._closed_forms import ClosedForms
from skvaeense.training._devices import resolve_device
from skvaeense.training._exact_inits import install_codes, install_subspaces, subspace_network
from skvaeense.training._independent_codes import IndependentCodes
from skvaeense.training._noise import best_noise, followed_noise, validation_terms
from skvaeense.training._phase import Phase, Selection
from skvaeense.training._settling import explains_most, is_clear, settle
from skvaeense.training._sizes import (
    DATA_STEPS,
    EXACT_RATE,
    EXACT_STEPS,
    GATE_STEPS,
    LONG_STEPS,
    MAX_COMPONENTS,
    most_latents,
    n_epochs,
)
from skvaeense.utils._seeding import make_generator
from skvaeense.utils._threads import threads_for

# Multiples of the default number of latents that are tried if gates explain the samples.
WIDER = (2, 4)
# Share of the variance that codes keep by default if nothing explains the samples.
DEFAULT_SHARE = 0.95


class ExplainedTraining:
    """Train a model from the flat parts or independent codes of the samples, or train gates.

    Parameters
    ----------
    estimator : VAEenseTransformer
        The estimator that is fitted.

    data : FitData
        The explored samples.

    session : FitSession
        The session of the fit.
    """

    def __init__(self, estimator, data, session):
        self.estimator, self.data, self.session = estimator, data, session
        self.explored = data.explored
        # The trainer of independent codes, once they explain the samples.
        self.codes = None

    @property
    def is_needed(self):
        """Whether training starts from an explanation of the samples, not from random inits."""
        is_gaussian = isinstance(self.estimator._resolved_prior(), priors.Mixture)
        return is_gaussian or not self._is_open

    @property
    def _is_open(self):
        """Whether gates may explain the samples."""
        kind, is_flat = self.explored.kind, self.explored.is_flat
        is_open = kind == "dictionary" or (kind == "dense" and not is_flat)
        return is_open or self.estimator.positive_code

    def train(self):
        """Train through the phases of the fit, and return the trainer of the kept model."""
        estimator, explored = self.estimator, self.explored
        self.seeds = self.session.random_state.randint(2**31 - 1, size=2).tolist()
        is_final = not estimator._trains_gates
        if explored.kind == "dictionary" and estimator._is_free and not estimator.positive_code:
            is_final = self._find_codes() or is_final
            if self.codes is None and explored.is_flat:
                explored.kind = "dense"
        is_open = self._is_open
        first = self._epochs(EXACT_STEPS) if is_final or not is_open else 0
        widths, epochs = [], []
        if not is_final:
            widths = self._widths()
            # Steps of the first init, of each number of latents, and of the best number again.
            steps = [DATA_STEPS if self.codes is None else EXACT_STEPS] + [GATE_STEPS] * len(widths)
            epochs = [self._epochs(n) for n in steps + self._long_steps(widths[0])]
        self.session.begin(first + sum(epochs))
        if first:
            trainer = self.codes or self._flats()
            is_final = is_final or explored.kind == "points"
            if not is_final and explored.kind == "mixture":
                # If several flat parts leave most of the variance at the start, they leave noise.
                is_final = not explains_most(trainer.model, self.data)
            phase = Phase(trainer, first, estimator._plateau(), from_start=True)
            trainer = self.session.train(phase).result()
            if is_final or self.session.stopped or explains_most(trainer.model, self.data):
                return trainer
            explored.kind = "dense"
        return self._train_gates(widths, epochs)

    def _epochs(self, n_steps):
        return self.estimator._epochs(self.data, n_steps)

    def _long_steps(self, width):
        """Return the steps of a last, longer training of gates; none if rows are few."""
        # Shorter trainings have seen few rows often enough.
        are_many = WIDER[0] * width <= most_latents(self.data)
        return [LONG_STEPS] if are_many and self.estimator.max_iter == "auto" else []

    def _broadcast(self, value):
        return self.data.processes.broadcast_scalar(float(value))

    # --- flat parts and independent codes -----------------------------------------------------

    def _flats(self):
        """Return the trainer of a model for exact inference in the flat parts of samples.

        One flat part is used if several do not explain the samples.
        """
        estimator, data, explored = self.estimator, self.data, self.explored
        if explored.kind != "mixture":
            rows = data.train.head.cpu().double().numpy()
            explored = explored.as_one_flat(rows, estimator.n_components or MAX_COMPONENTS)
        network = subspace_network(explored)
        n_components = estimator.n_components or sum(network.ranks)
        model = estimator._make_model(data, self.seeds[1], network, n_components)
        install_subspaces(model.network, explored, len(data.train) + len(data.valid))
        error = best_noise(validation_terms(model, data.valid), data.valid.shape[1])
        noise = followed_noise(error, error, learned=True, follow=1.0)
        return estimator._trainer(model, noise, EXACT_RATE, self._generator(), data)

    def _generator(self):
        return make_generator(self.seeds[0], resolve_device(self.estimator.device))

    def _find_codes(self):
        """Look for a dictionary that explains samples; return whether its codes are independent.

        If there is one, `codes` becomes its trainer.
        """
        data = self.data
        rows = data.train.head.cpu().double().numpy()
        with threads_for(rows.size * rows.shape[1]):
            found = IndependentCodes.fit(rows, np.random.RandomState(self.seeds[1]))
        best, bounds = None, np.full(len(data.valid), self._broadcast(self.explored.normal_nats))
        for codes in found:
            n_components = self.estimator.n_components or len(codes.atoms)
            if n_components < len(codes.atoms):
                continue
            gated = self.estimator._gate_estimator(None, n_components)
            model = gated._make_model(data, self.seeds[1])
            install_codes(model, codes, data.train.head)
            gain = settle(model, data) - bounds
            # The first dictionary compares its bound with a log-density. It needs no margin for
            # chance, since its log-density is at least the bound. The second compares bounds.
            is_better = self._broadcast(gain.mean()) > 0 if best is None else is_clear(gain, data)
            if model.has_patterns and is_better:
                best, bounds = (gated, model, codes), bounds + gain
        if best is None:
            return False
        gated, model, codes = best
        self.explored.nats["dictionary"] = float(bounds.mean())
        # Only the encoder, from which the search for gates starts, is left to learn.
        decoder, known = model.linear_decoder, ClosedForms(model, is_known=True)
        rates = {decoder.weight: 0.0, decoder.bias: 0.0}
        self.codes = gated._trainer(model, known, 1.0, self._generator(), data, rates=rates)
        return codes.are_independent(rows)

    # --- gates with a prior -------------------------------------------------------------------

    def _widths(self):
        """Return the numbers of latents to try: the least and a large one, then the others."""
        if self.estimator.n_components is not None:
            return [self.estimator.n_components]
        least = self.estimator._gate_estimator(None)._default_width(self.data)
        most = most_latents(self.data)
        others = [k * least for k in WIDER if k * least <= most]
        others.sort(key=lambda width: width if width > MAX_COMPONENTS else -width)
        return [least, *others]

    def _train_gates(self, widths, epochs):
        """Train gates with a prior: for independent codes or for a share, then with learned noise.

        With learned noise the bound can keep rising as codes get longer. So these gates are kept
        only if their bound exceeds the score of the first init: the bound of independent codes, or,
        for codes that keep a share, the log-density under normal distributions. Their codes must
        also explain more of the variance than they leave, and gates must differ between samples.

        The least number of latents and a large one are tried first. With fewer columns than atoms,
        gates may explain nothing; with many columns, few samples say little about each. Then the
        neighbours of the best number are tried. Finally, the best number is trained again, for
        longer, because gates of many atoms settle late.
        """
        explored, session = self.explored, self.session

        def width_of(i):
            """Return the number of latents of an init; the last, long init has the best number."""
            return widths[i - 1 if i <= len(widths) else int(np.argmin(inits.losses[1:i]))]

        def is_next(width, init):
            """Return whether a number of latents is next to the number of an init."""
            ranks = sorted(widths)
            return abs(ranks.index(width) - ranks.index(width_of(init))) == 1

        def make_trainer(i):
            if i == 0 and self.codes is not None:
                return self.codes
            first = self.estimator._gate_estimator(DEFAULT_SHARE)
            chosen = self.estimator._gate_estimator(None, width_of(i)) if i else first
            return chosen._make_trainer(self.data, self.seeds, i)

        inits = session.track("inits", Selection(make_trainer))
        self._train(inits, epochs[:1])
        # A fit that is resumed from a checkpoint may know the answer already.
        if not session.stopped and (len(inits.logs) > 1 or self._have_gates(inits.choose().model)):
            for i, width in enumerate(widths, start=1):
                # Very many latents are worth their time only once gates explain the samples.
                is_first = i == 1 or (i == 2 and width <= MAX_COMPONENTS)
                if not is_first and not (inits.best_init and is_next(width, inits.best_init)):
                    inits.skip(i)
                self._train(inits, epochs[: i + 1])
                if session.stopped:
                    break
            if inits.best_init > 0 and not session.stopped:
                self._train(inits, epochs)
        least = "dense" if self.codes is None else "dictionary"
        explored.kind = "gates" if inits.best_init > 0 else least
        return inits.choose()

    def _train(self, inits, n_epochs_of):
        def is_hopeless(trainer):
            # No training is given up once gates are the best, or if max_iter is given.
            is_undecided = len(inits.logs) > 0 and inits.best_init == 0
            is_undecided = is_undecided and self.estimator.max_iter == "auto"
            return is_undecided and not self._may_win(trainer.model, inits.losses[0])

        self.estimator._each(inits, n_epochs_of, self.session, self._loss, is_hopeless)

    def _may_win(self, model, least_loss):
        """Return whether the last steps of a training can make gates the best.

        They can if gates are halfway from the score of open codes to the score of the first init.
        """
        enough = (self._broadcast(self.explored.nats["dense"]) - least_loss) / 2
        return self._settled("gates", copy.deepcopy(model), enough) >= enough

    def _settled(self, name, model, enough=math.inf):
        """Settle a model until it is good enough, and return the mean bound of held-out samples."""
        mean, nats = self._broadcast(settle(model, self.data, enough).mean()), self.explored.nats
        nats[name] = max(nats.get(name, -math.inf), mean)
        return mean

    def _loss(self, model, init):
        """Return the loss that compares gates with one another and with the first init."""
        if init == 0 and self.codes is None:
            return -self._broadcast(self.explored.normal_nats)
        mean = self._settled("gates" if init > 0 else "dictionary", model)
        if init > 0 and not (model.has_patterns and explains_most(model, self.data)):
            return math.inf
        # The log-density is at least the bound, so no margin for chance is needed.
        return -mean

    def _have_gates(self, model):
        """Return whether gates can be better than codes whose gates are all open.

        They can if independent codes explain held-out samples best. Otherwise gates with learned
        noise are trained in short rounds, with at most the steps of a whole training. The rounds
        end early once gates beat open codes, or once the same gain in every further round would not
        suffice. Flat parts are not compared, since they can beat half-trained gates.
        """
        data = self.data
        if self.explored.kind == "dictionary":
            return True
        config = model.config | {"target_explained_variance": None}
        model = SpikeSlabVAE.from_state(config, copy.deepcopy(model.state_dict()))
        trainer = self.estimator._gate_estimator(None)._make_trainer(data, self.seeds, model=model)
        epochs = n_epochs("auto", len(data.train), data.batch_size, EXACT_STEPS)
        others, before = self._broadcast(self.explored.nats["dense"]), -math.inf
        for n_left in reversed(range(GATE_STEPS // EXACT_STEPS)):
            trainer.fit(data.train, n_epochs=epochs, batch_size=data.batch_size)
            mean = self._settled("gates", copy.deepcopy(model), others)
            gain = mean - others
            if gain > 0 or not gain + n_left * max(mean - before, 0.0) > 0:
                break
            before = mean
        return gain > 0
