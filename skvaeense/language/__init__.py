"""Models of language, or any torch model: activations, reconstructions, dictionaries, folders.

Any torch module works; nothing here depends on a library of language models.
"""

from skvaeense.language._activations import Activations
from skvaeense.language._fine_tuning import fine_tuned
from skvaeense.language._hub import from_pretrained, push_to_hub, save_pretrained
from skvaeense.language._latents import LatentReport, latent_report, top_activating
from skvaeense.language._replaced import LossRecovered as LossRecovered
from skvaeense.language._replaced import loss_recovered, replaced
from skvaeense.language._saelens import from_saelens, to_saelens

__all__ = [
    "Activations",
    "LatentReport",
    "fine_tuned",
    "from_pretrained",
    "from_saelens",
    "latent_report",
    "loss_recovered",
    "push_to_hub",
    "replaced",
    "save_pretrained",
    "to_saelens",
    "top_activating",
]
