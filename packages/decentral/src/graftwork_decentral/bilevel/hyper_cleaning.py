"""Hyper-cleaning: learn a weight for every training sample, so that a few clean ones are predicted well.

x ``[samples]`` holds the logit of each training sample's weight, for all samples of the network; y is the
model's parameters. With CE the cross-entropy (the problem is that of arXiv:2411.14166, section on
hyper-cleaning, its constants as reported)::

    g_i = (n / samples) sum over agent i's samples e of sigmoid(x_e) CE(e; y)  +  ridge |y|^2
    f_i = (n / clean samples) sum over agent i's clean samples of CE(.; y)

so that the means over the n agents are means over all samples of the network, however unevenly they lie.
Agents read and differentiate their own entries of x alone, and yet agree on all of it.

A batch: ``features [s, ...]``, ``labels [s]``, ``index [s]`` into x, ``share [s]`` (``n / samples``, more
where only some are drawn; 0 where a row only fills up), and ``clean_features``, ``clean_labels``,
``clean_share`` likewise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_decentral.bilevel.flat_model import FlatModel
from graftwork_decentral.bilevel.problem import Batch


class HyperCleaning:
    """The losses of one agent.

    Args:
        model: from features to logits of the classes; without dropout and batch statistics.
        samples: training samples of the whole network, the size of x.
        ridge: weight of ``|y|^2``, which makes the lower loss strongly convex for a linear model.

    Raises:
        ValueError: there is no sample, or ridge is negative.

    >>> problem = HyperCleaning(nn.Linear(64, 10), samples=1000)
    >>> problem.upper_variables, problem.lower_variables
    (1000, 650)
    """

    def __init__(self, model: nn.Module, samples: int, ridge: float = 1e-3) -> None:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        if ridge < 0:
            raise ValueError(f"ridge must be at least 0, got {ridge}")
        self.model = FlatModel(model)
        self.upper_variables = samples
        self.lower_variables = self.model.size
        self.ridge = ridge

    def upper_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return f of one agent: the loss on its clean samples."""
        return self._weighted(y, batch["clean_features"], batch["clean_labels"], batch["clean_share"])

    def lower_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return g of one agent: the weighted loss on its training samples."""
        weight = batch["share"] * x[batch["index"]].sigmoid()
        fit = self._weighted(y, batch["features"], batch["labels"], weight)
        return fit + self.ridge * y.square().sum()

    def _weighted(self, y: Tensor, features: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        return (weight * F.cross_entropy(self.model(y, features), labels, reduction="none")).sum()


class SoftmaxHyperCleaning(HyperCleaning):
    """Hyper-cleaning with softmax regression, its derivatives in closed form; features are ``[s, inputs]``.

    Args:
        inputs: of the features.
        classes: how many.
        samples: see :class:`HyperCleaning`.
        ridge: see :class:`HyperCleaning`.

    >>> SoftmaxHyperCleaning(64, 10, samples=1000).lower_variables
    650
    """

    closed_forms_take_all_agents = True

    def __init__(self, inputs: int, classes: int, samples: int, ridge: float = 1e-3) -> None:
        super().__init__(nn.Linear(inputs, classes), samples, ridge)
        self.inputs, self.classes = inputs, classes

    def lower_gradient(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return grad_y g."""
        residual = self._residual(y, batch["features"], batch["labels"])
        weight = batch["share"] * x.gather(-1, batch["index"]).sigmoid()
        return self._pulled_back(batch["features"], weight[..., None] * residual) + 2 * self.ridge * y

    def hessian_vector(self, x: Tensor, y: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        """Return hess_yy g times a vector."""
        chance = _softmax(self._logits(y, batch["features"]))
        change = self._logits(vector, batch["features"])
        change = chance * (change - (chance * change).sum(-1, keepdim=True))
        weight = batch["share"] * x.gather(-1, batch["index"]).sigmoid()
        return self._pulled_back(batch["features"], weight[..., None] * change) + 2 * self.ridge * vector

    def cross_vector(self, x: Tensor, y: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        """Return hess_xy g times a vector: for each sample the slope of its weight times that of its loss."""
        residual = self._residual(y, batch["features"], batch["labels"])
        along = (residual * self._logits(vector, batch["features"])).sum(-1)
        chance = x.gather(-1, batch["index"]).sigmoid()
        slope = batch["share"] * chance * (1 - chance)
        return torch.zeros_like(x).scatter_add(-1, batch["index"], slope * along)

    def upper_gradients(self, x: Tensor, y: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return grad_x f, which is 0, and grad_y f."""
        residual = self._residual(y, batch["clean_features"], batch["clean_labels"])
        weighted = batch["clean_share"][..., None] * residual
        return torch.zeros_like(x), self._pulled_back(batch["clean_features"], weighted)

    def _logits(self, y: Tensor, features: Tensor) -> Tensor:
        weight, bias = torch.split(y, [self.classes * self.inputs, self.classes], dim=-1)
        rows = weight.reshape(*weight.shape[:-1], self.classes, self.inputs)
        logits: Tensor = features @ rows.mT + bias[..., None, :]
        return logits

    def _residual(self, y: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        return _softmax(self._logits(y, features)) - F.one_hot(labels, self.classes)

    @staticmethod
    def _pulled_back(features: Tensor, by_logit: Tensor) -> Tensor:
        return torch.cat([(by_logit.mT @ features).flatten(-2), by_logit.sum(-2)], dim=-1)


def _softmax(logits: Tensor) -> Tensor:
    # Over a dimension as short as the classes, torch's own takes most of the time of a step on a CPU.
    unnormalized = (logits - logits.amax(-1, keepdim=True)).exp()
    return unnormalized / unnormalized.sum(-1, keepdim=True)
