"""What a training is made of besides its recipe, taken for a checkpoint and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.encoding import Encoded, encode
from graftwork_trainer.checkpoint.model_state import model_state, restore_model
from graftwork_trainer.checkpoint.opened import Opened
from graftwork_trainer.checkpoint.optimizer_state import group_options, optimizer_state, restore_optimizer
from graftwork_trainer.checkpoint.ranks import rank_and_size
from graftwork_trainer.random_state import RandomState

if TYPE_CHECKING:
    # Its length asks for ranks, which are in this folder.
    from graftwork_trainer.procedure import Procedure


class TrainingState:
    """Weights, moments, generators and what the procedure keeps for itself.

    Args:
        procedure: as built from the recipe, before a scheduler or a checkpoint has changed its optimizer: an
            option that the recipe changes later is told from one that training changed by this.
    """

    def __init__(self, procedure: Procedure) -> None:
        self.procedure = procedure
        self._built_with = group_options(procedure.model, procedure.optimizer)

    def capture(self, tensors: dict[str, torch.Tensor]) -> dict[str, Encoded]:
        """Return it as data.

        Args:
            tensors: takes those of this process, by name.

        Raises:
            GraftworkError: something in it is no data.
        """
        procedure, (rank, _) = self.procedure, rank_and_size()
        own = {
            "generators": RandomState.capture(procedure.device).state_dict(),
            "procedure": dict(procedure.state()),
        }
        return {
            "model": model_state(procedure.model, tensors),
            "optimizer": optimizer_state(procedure.model, procedure.optimizer, self._built_with, tensors),
            "processes": {str(rank): encode(own, f"process-{rank}", tensors)},
        }

    def restore(self, checkpoint: Opened, *, optimizer: bool = True) -> None:
        """Put back what a checkpoint holds, or refuse it by name.

        Args:
            checkpoint: of the same training, maybe on another number of processes: then generators go on
                from their seeds.
            optimizer: whether the optimizer's state too.

        Raises:
            GraftworkError: it does not fit; the message names the weight or the state.
        """
        procedure, (rank, size) = self.procedure, rank_and_size()
        try:
            restore_model(procedure.model, checkpoint)
            if optimizer:
                restore_optimizer(procedure.model, procedure.optimizer, self._built_with, checkpoint)
            processes = checkpoint.index.values["processes"]
            own = [
                checkpoint.decoded(processes[number]["procedure"], int(number))
                for number in sorted(processes, key=int)
            ]
            procedure.restore(own)
            if size == checkpoint.processes:
                RandomState.from_state_dict(checkpoint.decoded(processes[str(rank)]["generators"])).restore()
        except GraftworkError as error:
            raise GraftworkError(f"checkpoint {checkpoint.path}: {error}") from error
        except Exception as error:  # by the loading of a module or optimizer, or of what no training saved
            raise GraftworkError(f"checkpoint {checkpoint.path}: cannot be taken up: {error!r}") from error
