"""Centralized, consensus, diffusion and other strategies on a real task: where they end, how flat it is.

Source of the question: Cao, Wu, Yuan, Sayed, arXiv:2406.20006. :class:`FlatnessStudy` trains every
combination of method, graph, batch size and seed with any torch optimizer on any task, and measures each at
a matched training loss. :func:`write_report` puts means and spreads over seeds beside the theory.

What such a study can show depends on its size. A perceptron on digits shows that agents' training loss is
ordered centralized < diffusion < consensus, and that their disagreement costs what the theory says. It does
not show that decentralized training ends flatter or more accurate: differences in accuracy are below the
noise there, and the Hessian trace follows the training loss.
"""

from graftwork_decentral.flatness.study.report import write_report
from graftwork_decentral.flatness.study.rows import Row, read_rows
from graftwork_decentral.flatness.study.study import FlatnessStudy

__all__ = ["FlatnessStudy", "Row", "read_rows", "write_report"]
