"""Fitted estimators as folders to share, and on the Hugging Face Hub.

A folder has the estimator itself, the files that SAELens reads, and a model card.
"""

from skvaeense.hub._card import model_card
from skvaeense.hub._folders import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "model_card", "push_to_hub", "save_pretrained"]
