"""The loss at perturbed weights without writing the weights.

``(X + L V^T) x = X x + L (V^T x)``: beside every use of a matrix runs a path of rank r. While
:class:`SidePath` is active it sees each torch function that is called, by whatever module or function, and
where an argument is one of its weights it adds that weight's path
(:mod:`graftwork_optim_core.zeroth_order.side_operations`). A weight that modules share is one weight here
too. A vector is replaced by its perturbed value, which costs a vector. Weights are recognized by identity, so
that no module needs to be known.

Two ends of a difference are evaluated one after the other, or both at once on a batch of twice the size, of
which the first half belongs to the first end (:mod:`graftwork_optim_core.zeroth_order.doubling`).

Shapes: L ``[rows, rank]``, V ``[columns, rank]``.

Raises NotDoubledError inside a doubled batch where a function mixes samples or is not known, and RuntimeError
where a matrix is used by an unknown function after the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from graftwork_optim_core.zeroth_order.sites import PerturbationSite


class NotDoubledError(Exception):
    """The two ends cannot share a batch here."""


@dataclass(slots=True, eq=False)
class SideWeight:
    """A weight and what is added to it.

    Args:
        site: the weight.
        right: V; None for a vector.
        ends: L, or the vector's addition, at each of the two ends; overwritten for every evaluation.
        seen: whether a function that was seen has used it.
    """

    site: PerturbationSite
    right: Tensor | None
    ends: tuple[Tensor, Tensor]
    seen: bool = False
    _casts: dict[torch.dtype, Tensor] = field(default_factory=dict)

    @property
    def decay(self) -> float:
        """By what the weight itself is multiplied."""
        return float(self.site.group["pending_decay"])

    def right_as(self, dtype: torch.dtype) -> Tensor:
        """Return ``V^T [rank, columns]``, contiguous, in the dtype of what it is multiplied with."""
        if dtype not in self._casts:
            assert self.right is not None
            self._casts[dtype] = self.right.t().to(dtype).contiguous()
        return self._casts[dtype]

    def forget_casts(self) -> None:
        """Forget copies of V, which has changed."""
        self._casts.clear()


@dataclass(slots=True)
class Record:
    """What one forward pass did.

    Args:
        shapes: of the input of every function that used a weight, in order.
        rows: the largest number of rows that a matrix was multiplied with.
        unknown: matrices used by a function without a side path, and the function's name.
        mixes: why samples of a batch depend on each other, where they do.
    """

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    rows: int = 0
    unknown: dict[str, str] = field(default_factory=dict)
    mixes: str | None = None


Operation = Callable[..., Any]


class SidePath(TorchFunctionMode):
    """Adds to every use of its weights; see the module.

    Args:
        weights: what to add to, by identity of the parameter.
        operations: side paths by the function that they belong to.
    """

    active: SidePath | None = None

    def __init__(self, weights: Mapping[int, SideWeight], operations: Mapping[Any, Operation]) -> None:
        super().__init__()
        self.weights = weights
        self.operations = operations
        self.end = 0
        self.doubled: Sequence[tuple[int, ...]] | None = None
        self.record: Record | None = None
        self.samples = 0
        # Until a first pass was recorded, matrices without a side path have nothing beside them.
        self.strict = False
        # Whether functions without a side path are given whole matrices: where nothing is perturbed.
        self.shows_whole = False
        self._position = 0
        self._values: dict[int, dict[int, Tensor]] = {}
        self._vectors = {key: weight for key, weight in weights.items() if weight.right is None}
        self._additions = [
            tuple(end.view(weight.site.parameter.shape) for end in weight.ends)
            for weight in self._vectors.values()
        ]
        # Views such as weight.t(), with the weight that they show; held so that identities stay theirs.
        self._transposed: dict[int, tuple[SideWeight, Tensor]] = {}

    def __enter__(self) -> SidePath:
        SidePath.active = self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        SidePath.active = None

    def at(self, end: int, record: Record | None = None) -> None:
        """Evaluate at one end from here on, with the numbers that lie there now."""
        self.end, self.record, self.doubled = end, record, None
        self._forget()

    @contextmanager
    def both_ends(self, shapes: Sequence[tuple[int, ...]], samples: int) -> Iterator[None]:
        """Evaluate both ends at once within the block.

        Args:
            shapes: of the inputs as recorded in a pass over an equal batch that was not doubled.
            samples: of the doubled batch.
        """
        self.doubled, self.samples, self._position = shapes, samples, 0
        self._forget()
        try:
            yield
        finally:
            self.doubled = None
            self._forget()

    def _forget(self) -> None:
        self._values.clear()
        self._transposed.clear()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function, with the side path of its weight where it has one."""
        kwargs = kwargs or {}
        operation = self.operations.get(function)
        if operation is not None:
            return operation(self, function, *args, **kwargs)
        weights = self.weights
        for argument in args:
            if id(argument) in weights or type(argument) in (list, tuple):
                return self.without_path(function, args, kwargs)
        for argument in kwargs.values():
            if id(argument) in weights:
                return self.without_path(function, args, kwargs)
        return function(*args, **kwargs)

    def find(self, tensor: Any) -> SideWeight | None:
        """Return the matrix that a tensor is, if it is one of those with a side path."""
        weight = self.weights.get(id(tensor))
        return weight if weight is not None and weight.right is not None else None

    def find_transposed(self, tensor: Any) -> SideWeight | None:
        """Return the matrix whose transpose a tensor is."""
        found = self._transposed.get(id(tensor))
        return found[0] if found else None

    def remember_transposed(self, weight: SideWeight, view: Tensor) -> Tensor:
        """Know a view again as the transpose of a weight."""
        self._transposed[id(view)] = (weight, view)
        return view

    def value(self, tensor: Any) -> Any:
        """Return a vector's value at the end that is evaluated, and anything else as it is."""
        weight = self.weights.get(id(tensor))
        if weight is None:
            return tensor
        if weight.right is None:
            return self.value_at(weight, self.end)
        if self.shows_whole and not weight.site.additive:
            return self._whole(weight, weight.right)
        self._use_otherwise(weight, "a function that adds or scales by it")
        return tensor

    def _whole(self, weight: SideWeight, right: Tensor) -> Tensor:
        """Return a matrix with what lies beside it added."""
        base = weight.site.parameter.detach()
        beside = (weight.ends[self.end] @ right.t().to(weight.ends[self.end].dtype)).view(base.shape)
        return torch.add(beside, base, alpha=weight.decay).to(base.dtype)

    def value_at(self, weight: SideWeight, end: int) -> Tensor:
        """Return a vector's value at an end."""
        values = self._values.get(end)
        if values is None:
            values = self._values[end] = dict(zip(self._vectors, self._all_values(end), strict=True))
        return values[id(weight.site.parameter)]

    def _all_values(self, end: int) -> list[Tensor]:
        """Return all vectors at an end, in few calls."""
        weights = list(self._vectors.values())
        bases = [weight.site.parameter.detach() for weight in weights]
        if any(weight.decay != 1.0 for weight in weights):
            bases = [base * weight.decay for base, weight in zip(bases, weights, strict=True)]
        sums = torch._foreach_add(bases, [views[end] for views in self._additions])
        return [
            value if value.dtype == base.dtype else value.to(base.dtype)
            for value, base in zip(sums, bases, strict=True)
        ]

    def perturbs(self, *tensors: Any) -> bool:
        """Whether any of these is a weight of this path."""
        return any(id(tensor) in self.weights for tensor in tensors)

    def note(self, input: Tensor, rows: int = 0) -> Tensor:
        """Record the input of a function that uses a weight, or make it ready for both ends.

        Returns:
            The input, repeated for both ends if they are evaluated at once and it is the same for all
            samples.
        """
        shape = tuple(input.shape)
        if self.record is not None:
            self.record.shapes.append(shape)
            self.record.rows = max(self.record.rows, rows)
        if self.doubled is None:
            return input
        if self._position >= len(self.doubled):
            raise NotDoubledError("the doubled batch took another way through the model")
        expected = self.doubled[self._position]
        self._position += 1
        if expected and shape == (2 * expected[0], *expected[1:]):
            return input
        if shape == expected and input.ndim > 1 and shape[0] == 1:
            return input.expand(self.samples, *shape[1:])
        if shape == expected and input.ndim == 1 and not input.is_floating_point():
            return input.expand(self.samples, *shape)
        raise NotDoubledError(f"an input of shape {shape} does not follow the batch")

    def refuse_doubled(self, reason: str) -> None:
        """Say that samples of a batch depend on each other, or that a function is not known."""
        if self.record is not None:
            self.record.mixes = self.record.mixes or reason
        if self.doubled is not None:
            raise NotDoubledError(reason)

    def without_path(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function that has no side path: vectors by value; matrices only if nothing is computed."""
        if function in _HARMLESS:
            return function(*args, **kwargs)
        name = getattr(function, "__name__", str(function))
        for weight in self._matrices((args, tuple(kwargs.values()))):
            if not self.shows_whole or weight.site.additive:
                self._use_otherwise(weight, name)
        substituted = self._substituted(args)
        if substituted is not args:
            self.refuse_doubled(f"{name} uses a perturbed vector")
        named = {key: self._substituted((value,))[0] for key, value in kwargs.items()}
        if any(named[key] is not kwargs[key] for key in kwargs):
            self.refuse_doubled(f"{name} uses a perturbed vector")
        return function(*substituted, **named)

    def _use_otherwise(self, weight: SideWeight, name: str) -> None:
        if weight.site.additive:
            return
        if self.strict:
            raise RuntimeError(
                f"parameter {weight.site.name!r} is used by {name}, which it was not in the first step "
                "and has no side path; choose backend='inplace'"
            )
        if self.record is not None:
            self.record.unknown.setdefault(weight.site.name, name)

    def _matrices(self, values: Any) -> Iterator[SideWeight]:
        for value in values:
            if type(value) in (list, tuple):
                yield from self._matrices(value)
            elif (weight := self.find(value)) is not None:
                yield weight

    def _substituted(self, values: Any) -> Any:
        """Return a list or tuple with the vectors in it replaced, itself if there are none."""
        new = [self._substituted(v) if type(v) in (list, tuple) else self.value(v) for v in values]
        return values if all(a is b for a, b in zip(new, values, strict=True)) else type(values)(new)


_PROPERTIES = (
    "shape dtype device layout requires_grad is_leaf ndim is_cuda is_cpu is_sparse is_quantized is_meta "
    "is_mps is_xpu is_nested grad names itemsize nbytes _version grad_fn is_mkldnn"
)
_METHODS = (
    "size dim stride numel nelement element_size is_contiguous is_floating_point is_complex is_inference "
    "data_ptr storage_offset untyped_storage get_device ndimension __len__ __hash__ __repr__ is_signed "
    "is_pinned is_shared requires_grad_ is_same_size"
)
_HARMLESS = {
    getattr(torch.Tensor, name).__get__ for name in _PROPERTIES.split() if hasattr(torch.Tensor, name)
}
_HARMLESS |= {getattr(torch.Tensor, name) for name in _METHODS.split() if hasattr(torch.Tensor, name)}
_HARMLESS |= {torch.is_floating_point, torch.is_complex, torch.is_tensor, torch.numel}
