"""Models of language, or any torch model: activations, reconstructions, dictionaries, folders.

Any torch module works; nothing here depends on a library of language models.
"""

from skvaeense.language._activations import Activations
from skvaeense.language._fine_tuning import fine_tuned
from skvaeense.language._latents import latent_report, top_activating
from skvaeense.language._replaced import LossRecovered as LossRecovered
from skvaeense.language._replaced import loss_recovered, replaced
from skvaeense.language._saelens import from_saelens, to_saelens

__all__ = [
    "Activations",
    "fine_tuned",
    "from_saelens",
    "latent_report",
    "loss_recovered",
    "replaced",
    "to_saelens",
    "top_activating",
]
