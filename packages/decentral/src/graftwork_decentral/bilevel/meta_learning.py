"""Meta-learning: a shared backbone above, a linear head for every training episode below.

An episode is a small classification task of ``ways`` classes. Every agent has its own support and query
images of every episode. With CE the cross-entropy and ``h_x`` the backbone's features::

    g_i(x, y) = mean over episodes e of [ CE(head y_e on h_x; support images) + ridge |y_e|^2 ]
    f_i(x, y) = mean over episodes e of   CE(head y_e on h_x; query images)

x is the backbone, y ``[episodes, ways, features + 1]`` all heads, flat. That backbone and heads are the two
levels is the published form (arXiv:2411.14166 compares on such a task). That all agents share the episodes,
so that heads too are agreed upon, is ours: the lower variable of this formulation is one of the whole
network.

A batch: ``support``, ``support_labels``, ``query``, ``query_labels``, each ``[episodes, images, ...]``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_decentral.bilevel.flat_model import FlatModel
from graftwork_decentral.bilevel.problem import Batch


class MetaLearning:
    """The losses of one agent.

    Args:
        backbone: from images to features ``[images, features]``.
        features: that it gives.
        episodes: how many.
        ways: classes of an episode.
        ridge: weight of ``|y_e|^2``, which makes the lower loss strongly convex.

    Raises:
        ValueError: a size is below 1, or ridge is not positive.

    >>> MetaLearning(nn.Linear(8, 4), 4, episodes=5, ways=3).lower_variables
    75
    """

    def __init__(
        self, backbone: nn.Module, features: int, *, episodes: int, ways: int, ridge: float = 1e-2
    ) -> None:
        for name, value in {"features": features, "episodes": episodes, "ways": ways}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not ridge > 0:
            raise ValueError(f"ridge must be above 0, got {ridge}")
        self.backbone = FlatModel(backbone)
        self.features, self.episodes, self.ways, self.ridge = features, episodes, ways, ridge
        self.upper_variables = self.backbone.size
        self.lower_variables = episodes * ways * (features + 1)

    def upper_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return f of one agent: the loss on query images."""
        logits = self.logits(x, y, batch["query"])
        return F.cross_entropy(logits.flatten(0, 1), batch["query_labels"].flatten())

    def lower_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return g of one agent: the loss on support images, and the ridge."""
        logits = self.logits(x, y, batch["support"])
        fit = F.cross_entropy(logits.flatten(0, 1), batch["support_labels"].flatten())
        return fit + self.ridge * y.square().sum() / self.episodes

    def logits(self, x: Tensor, y: Tensor, images: Tensor) -> Tensor:
        """Return ``[episodes, images, ways]`` of images ``[episodes, images, ...]``."""
        episodes, count = images.shape[:2]
        heads = y.view(episodes, self.ways, self.features + 1)
        features = self.backbone(x, images.flatten(0, 1)).view(episodes, count, self.features)
        return features @ heads[..., :-1].mT + heads[..., None, :, -1]

    def adapted(
        self, x: Tensor, images: Tensor, labels: Tensor, *, steps: int = 300, rate: float = 2.0
    ) -> Tensor:
        """Return a head for a new episode: gradient descent on its lower loss from 0, the backbone fixed.

        Args:
            x: the backbone.
            images: ``[images, ...]``.
            labels: ``[images]``.
            steps: of gradient descent.
            rate: of the step, over one plus the largest squared norm of a feature vector; below 4.
        """
        with torch.no_grad():
            features = self.backbone(x, images)
            features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
            size = rate / (1 + float(features.square().sum(1).max()))
            head = features.new_zeros(self.ways, self.features + 1)
            for _ in range(steps):
                residual = (features @ head.mT).softmax(1) - F.one_hot(labels, self.ways)
                head = head - size * (residual.mT @ features / len(labels) + 2 * self.ridge * head)
        return head
