"""Any optimizer registered with Graftwork, by its name, in Hugging Face's Trainer."""

from graftwork_transformers_trainer.trainer import GraftworkTrainer

__all__ = ["GraftworkTrainer"]
