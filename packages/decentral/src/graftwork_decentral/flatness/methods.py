"""The three compared methods, and a fourth.

K agents, mixing matrix W, step mu, stochastic gradient g_k of agent k (arXiv:2406.20006):

    centralized     w   <- w - mu mean_k g_k(w)
    consensus       w_k <- sum_l W_kl w_l - mu g_k(w_k)
    diffusion       w_k <- sum_l W_kl (w_l - mu g_l(w_l))          adapt, then combine
    cta-diffusion   v_k = sum_l W_kl w_l,  w_k <- v_k - mu g_k(v_k)     combine, then adapt

Centralized is diffusion with W = 11'/K if all agents start equal. Consensus with that W is not.
"""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["centralized", "consensus", "diffusion", "cta-diffusion"]

METHODS: tuple[Method, ...] = get_args(Method)
"""All of them."""


def require_method(method: str) -> None:
    """Refuse a name that is none of the methods.

    Raises:
        ValueError: it is none of them.

    >>> require_method("diffusion")
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
