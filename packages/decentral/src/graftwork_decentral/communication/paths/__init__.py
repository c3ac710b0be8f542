"""Ways to compute one mixing of stacked rows, and a model that says which is the fastest.

All take the rows that a process knows, ``known`` [known, parameters], and a :class:`~.plan.MixPlan`:

- :mod:`~.gathered`: differences to the k-th neighbour, for all rows at once;
- :mod:`~.rowwise`: the same arithmetic row by row, without copies of rows; equal bit for bit;
- :mod:`~.dense`: a matrix product, for graphs with many edges.
"""
