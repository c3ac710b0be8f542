"""Zeroth-order optimizers: they evaluate the loss at two points a step and never ask for a gradient.

:mod:`~graftwork_optim_core.zeroth_order.optimizer` makes the step,
:mod:`~graftwork_optim_core.zeroth_order.pool` holds what it remembers,
:mod:`~graftwork_optim_core.zeroth_order.in_place`, :mod:`~graftwork_optim_core.zeroth_order.side_path` and
:mod:`~graftwork_optim_core.zeroth_order.doubling` are the three ways of evaluating the loss at perturbed
weights, :mod:`~graftwork_optim_core.zeroth_order.log` writes four bytes a step, and
:mod:`~graftwork_optim_core.zeroth_order.replay` rebuilds a run from them.
"""
