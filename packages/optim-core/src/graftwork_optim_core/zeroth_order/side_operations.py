"""The side paths of torch's functions; see :mod:`graftwork_optim_core.zeroth_order.side_path`.

For a matrix X with the addition ``L V^T``, at one end or at both:

===================  =================================
``linear(x, X, b)``  ``x X^T + (x V) L^T + b``
``x @ X``            ``x X + (x L) V^T``
``embedding(i, X)``  ``X[i] + L[i] V^T``
``conv(x, X, b)``    ``conv(x, X) + conv_1x1(conv(x, V), L) + b``
===================  =================================

Every addition is made in place on the function's own result. With both ends at once the first half of the
rows takes L of the first end, the second half that of the second. Vectors (biases, gains) take their values
at each end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graftwork_optim_core.numerics.outer_products import add_product_
from graftwork_optim_core.zeroth_order.side_path import NotDoubledError, SidePath, SideWeight


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _ends(path: SidePath, *tensors: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield every end that is evaluated, with the rows of each tensor that belong to it."""
    if path.doubled is None:
        yield path.end, list(tensors)
        return
    for end in (0, 1):
        halves = [len(tensor) // 2 for tensor in tensors]
        yield end, [t[:half] if end == 0 else t[half:] for t, half in zip(tensors, halves, strict=True)]


def _scaled(weight: SideWeight, input: Tensor) -> Tensor:
    return input if weight.decay == 1.0 else input * weight.decay


def _matrix(path: SidePath, tensor: Any) -> tuple[SideWeight | None, bool]:
    """Return the matrix that a tensor is, or whose transpose it is, and whether it is that itself."""
    side = path.find(tensor)
    return (path.find_transposed(tensor), False) if side is None else (side, True)


def _bias(path: SidePath, bias: Any) -> tuple[Any, SideWeight | None]:
    """Return a bias at the end evaluated; where there are two, none, and what has its values at both."""
    if path.doubled is None or not path.perturbs(bias):
        return path.value(bias), None
    return None, path.weights[id(bias)]


def linear(path: SidePath, function: Any, input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """``torch.nn.functional.linear``."""
    side, itself = _matrix(path, weight)
    if side is not None:
        return _product(path, function, input, weight, side, bias, transposed=itself)
    if path.perturbs(weight):
        return _narrow(path, function, input, weight, bias)
    if path.perturbs(bias):
        return _biased(path, function, input, weight, bias)
    return function(input, weight, bias)  # type: ignore[no-any-return]


def _product(
    path: SidePath,
    function: Any,
    input: Tensor,
    weight: Tensor,
    side: SideWeight,
    bias: Any,
    *,
    transposed: bool,
) -> Tensor:
    """``function(input, weight, bias)``, which multiplies by the weight's transpose or by the weight."""
    input = path.note(input, input.numel() // max(input.shape[-1], 1))
    side.seen = True
    plain, added = _bias(path, bias)
    biases = () if plain is None else (plain,)
    result: Tensor = function(_scaled(side, input), weight, *biases)
    add_path(path, side, input, result, added, transposed=transposed)
    return result


def add_path(
    path: SidePath,
    side: SideWeight,
    input: Tensor,
    result: Tensor,
    bias: SideWeight | None = None,
    *,
    transposed: bool = True,
) -> None:
    """Add to a product its side path, and to each half of a doubled batch its bias."""
    rows, into, dtype = _rows(input), result.view(-1, result.shape[-1]), result.dtype
    parts = F.linear(rows, side.right_as(rows.dtype)) if transposed else rows
    for end, (part, half) in _ends(path, parts, into):
        left = side.ends[end]
        if transposed:
            add_product_(half, part.to(dtype), left.to(dtype))
        else:
            projected = F.linear(part, left.t().to(part.dtype).contiguous())
            add_product_(half, projected.to(dtype), side.right_as(dtype).t())
        if bias is not None:
            half.add_(path.value_at(bias, end).to(dtype))


def _narrow(path: SidePath, function: Any, input: Tensor, weight: Tensor, bias: Any) -> Tensor:
    """A product with a matrix so narrow that it is replaced by its value, as a vector is."""
    input = path.note(input)
    if path.doubled is None:
        return function(input, path.value(weight), path.value(bias))  # type: ignore[no-any-return]
    narrow, added = path.weights[id(weight)], path.weights.get(id(bias))
    halves = [
        function(half, path.value_at(narrow, end), bias if added is None else path.value_at(added, end))
        for end, (half,) in _ends(path, input)
    ]
    return torch.cat(halves)


def _biased(path: SidePath, function: Any, input: Tensor, weight: Tensor, bias: Any) -> Tensor:
    """A product with a matrix that stays and a bias that is perturbed."""
    input = path.note(input)
    plain, added = _bias(path, bias)
    result: Tensor = function(input, weight, plain)
    if added is not None:
        for end, (half,) in _ends(path, result):
            half.add_(path.value_at(added, end).to(result.dtype))
    return result


def addmm(path: SidePath, function: Any, bias: Tensor, input: Tensor, weight: Tensor, **options: Any) -> Any:
    """``torch.addmm(bias, input, weight)``."""
    side, itself = _matrix(path, weight)
    if options or side is None or path.perturbs(input):
        return path.without_path(function, (bias, input, weight), options)

    def product(rows: Tensor, matrix: Tensor, added: Tensor | None = None) -> Tensor:
        product: Tensor = rows @ matrix if added is None else function(added, rows, matrix)
        return product

    return _product(path, product, input, weight, side, bias, transposed=not itself)


def matmul(path: SidePath, function: Any, input: Any, other: Any, **options: Any) -> Any:
    """``input @ other`` with the weight, or its transpose, on the right."""
    side, itself = _matrix(path, other)
    if options or side is None or path.perturbs(input):
        return path.without_path(function, (input, other), options)
    return _product(path, function, input, other, side, None, transposed=not itself)


def transpose(path: SidePath, function: Any, input: Any, *arguments: Any, **options: Any) -> Any:
    """``weight.t()``, ``weight.T``, ``weight.mT`` and ``weight.transpose(0, 1)``."""
    side = path.find(input)
    if side is None or input.ndim != 2 or (arguments and sorted(a % 2 for a in arguments) != [0, 1]):
        return path.without_path(function, (input, *arguments), options)
    return path.remember_transposed(side, function(input, *arguments, **options))


def embedding(
    path: SidePath,
    function: Any,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    *others: Any,
    **options: Any,
) -> Any:
    """``torch.nn.functional.embedding``."""
    side = path.find(weight)
    if side is None and path.perturbs(weight):
        # A narrow table is a vector to us: its value at each end is looked up.
        if path.doubled is None:
            return function(path.note(input), path.value(weight), padding_idx, max_norm, *others, **options)
        halves = path.note(input).chunk(2)
        narrow = path.weights[id(weight)]
        return torch.cat([F.embedding(ids, path.value_at(narrow, end)) for end, ids in enumerate(halves)])
    if side is None or max_norm is not None:
        return path.without_path(function, (input, weight, padding_idx, max_norm, *others), options)
    input = path.note(input)
    result: Tensor = function(input, weight, padding_idx, max_norm, *others, **options)
    if side.decay != 1.0:
        result.mul_(side.decay)
    into, ids = result.view(-1, result.shape[-1]), input.reshape(-1)
    right = side.right_as(result.dtype).t()
    for end, (half, chosen) in _ends(path, into, ids):
        add_product_(half, F.embedding(chosen, side.ends[end]).to(result.dtype), right)
    return result


def _at_both_ends(path: SidePath, vector: Any, ndim: int) -> Any:
    """Return a vector's values at both ends, to broadcast against a batch of ``[2, samples / 2, ...]``."""
    weight = path.weights.get(id(vector))
    if weight is None:
        return vector
    values = torch.stack([path.value_at(weight, 0), path.value_at(weight, 1)])
    if vector.ndim > ndim or (vector.ndim == ndim and vector.shape[0] != 1):
        raise NotDoubledError("a vector is as long as the batch")
    return values.view(2, *[1] * (ndim - vector.ndim), *vector.shape)


def _paired(tensor: Tensor) -> Tensor:
    return tensor.reshape(2, -1, *tensor.shape[1:])


def layer_norm(
    path: SidePath,
    function: Any,
    input: Tensor,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Any:
    """``torch.nn.functional.layer_norm``."""
    if not path.perturbs(weight, bias):
        return function(input, normalized_shape, weight, bias, eps)
    input = path.note(input)
    if path.doubled is None:
        return function(input, normalized_shape, path.value(weight), path.value(bias), eps)
    result = _paired(function(input, normalized_shape, None, None, eps))
    if weight is not None:
        result.mul_(_at_both_ends(path, weight, input.ndim))
    if bias is not None:
        result.add_(_at_both_ends(path, bias, input.ndim))
    return result.view(input.shape)


def rms_norm(
    path: SidePath,
    function: Any,
    input: Tensor,
    normalized_shape: Any,
    weight: Any = None,
    eps: float | None = None,
) -> Any:
    """``torch.nn.functional.rms_norm``."""
    if not path.perturbs(weight):
        return function(input, normalized_shape, weight, eps)
    input = path.note(input)
    if path.doubled is None:
        return function(input, normalized_shape, path.value(weight), eps)
    result = _paired(function(input, normalized_shape, None, eps))
    return result.mul_(_at_both_ends(path, weight, input.ndim)).view(input.shape)


def elementwise(path: SidePath, function: Any, one: Any, other: Any, **options: Any) -> Any:
    """Sums, differences and products of a batch and a vector."""
    if options or not path.perturbs(one, other) or path.find(one) or path.find(other):
        if path.perturbs(one, other):
            return path.without_path(function, (one, other), options)
        return function(one, other, **options)
    if path.perturbs(one) and (path.perturbs(other) or not isinstance(other, Tensor)):
        return path.without_path(function, (one, other), options)
    if not path.perturbs(one) and not isinstance(one, Tensor):
        return path.without_path(function, (one, other), options)
    batch = path.note(other if path.perturbs(one) else one)
    if path.doubled is None:
        return function(path.value(one), path.value(other))
    paired, ndim = _paired(batch), batch.ndim
    if path.perturbs(one):
        result: Tensor = function(_at_both_ends(path, one, ndim), paired)
    else:
        result = function(paired, _at_both_ends(path, other, ndim))
    return result.view(batch.shape) if result.shape == paired.shape else result.flatten(0, 1)


def convolution(
    path: SidePath,
    function: Any,
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """``torch.nn.functional.conv1d``, ``conv2d`` and ``conv3d``; of grouped ones the weight has no side
    path."""
    side = path.find(weight)
    settings = (stride, padding, dilation, groups)
    if side is None or groups != 1 or input.ndim != weight.ndim:
        return path.without_path(function, (input, weight, bias, *settings), {})
    input = path.note(input)
    plain, added = _bias(path, bias)
    result: Tensor = function(_scaled(side, input), weight, plain, *settings)
    kernel = side.right_as(input.dtype).view(side.site.rank, *weight.shape[1:])
    parts = function(input, kernel, None, *settings).to(result.dtype)
    point = [1] * (weight.ndim - 2)
    for end, (into, part) in _ends(path, result, parts):
        into.add_(function(part, side.ends[end].to(part.dtype).view(*side.ends[end].shape, *point)))
        if added is not None:
            into.add_(path.value_at(added, end).view(-1, *point).to(into.dtype))
    return result


def batch_norm(
    path: SidePath, function: Any, input: Tensor, mean: Any, variance: Any, *others: Any, **options: Any
) -> Any:
    """``torch.nn.functional.batch_norm``, which mixes the samples of a batch while it trains."""
    training = options.get("training", others[2] if len(others) > 2 else False)
    if training:
        path.refuse_doubled("batch norm takes the statistics of the whole batch")
    return path.without_path(function, (input, mean, variance, *others), options)


OPERATIONS: dict[Any, Callable[..., Any]] = {
    F.linear: linear,
    F.embedding: embedding,
    F.layer_norm: layer_norm,
    F.rms_norm: rms_norm,
    F.batch_norm: batch_norm,
    F.conv1d: convolution,
    F.conv2d: convolution,
    F.conv3d: convolution,
    torch.addmm: addmm,
    torch.Tensor.t: transpose,
    torch.t: transpose,
    torch.Tensor.transpose: transpose,
    torch.transpose: transpose,
    torch.Tensor.T.__get__: transpose,  # type: ignore[attr-defined]
    torch.Tensor.mT.__get__: transpose,  # type: ignore[attr-defined]
}
for _product_of in (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.__matmul__):
    OPERATIONS[_product_of] = matmul
for _name in ("add", "sub", "mul"):
    for _home in (torch, torch.Tensor):
        OPERATIONS[getattr(_home, _name)] = elementwise
for _name in ("__add__", "__sub__", "__mul__", "__radd__", "__rmul__"):
    OPERATIONS[getattr(torch.Tensor, _name)] = elementwise
