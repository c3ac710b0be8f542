"""Centralized, consensus, diffusion and other strategies on a real task: where they end, how flat it is.

Source of the question: Cao, Wu, Yuan, Sayed, arXiv:2406.20006. :class:`FlatnessStudy` trains every
combination of method, graph, batch size and seed with any torch optimizer on any task, and measures each at
a matched training loss. :func:`write_report` puts means and spreads over seeds beside the theory.

What such a study can show depends on its size. A perceptron on digits shows that agents' training loss and
excess risk are ordered centralized < diffusion < consensus, and that disagreement costs more than the theory
of quadratics says: 1.6 to 1.9 times (config digits, means over two seeds), 1.9 to 6 times where batches of 4
lead away from a common minimum (config escape, one seed). It does not settle whether decentralized training
ends flatter or more accurate: the order of Hessian traces changes with the batch size, and accuracies differ
by little more than the noise, if at all in favour of centralized.
"""

from graftwork_decentral.flatness.study.report import write_report
from graftwork_decentral.flatness.study.rows import Row, read_rows
from graftwork_decentral.flatness.study.study import FlatnessStudy

__all__ = ["FlatnessStudy", "Row", "read_rows", "write_report"]
