"""Models: self-contained torch modules.

A model is made from its `config`, which holds specifications and sizes, and has its weights in a
`state_dict`. It does not know about estimators. Its inputs are centred and scaled samples.
"""

from skvaeense.models._base import Model
from skvaeense.models._net_law import NetLaw as NetLaw
from skvaeense.models._sparse_coder import SparseCoder
from skvaeense.models._vae import VAE
from skvaeense.models._vae import ELBOTerms as ELBOTerms

__all__ = ["VAE", "Model", "SparseCoder"]
