"""Products of Jacobians, in float64 and without overflow: the arithmetic behind ``unrolled lab gradients``.

∂h_t/∂h_{t-k} is the product of k Jacobians. Its norm leaves the range of any float, so what is kept is a product scaled
to norm 1 and the logarithm of the scale; its singular values drift so far apart that a plain product keeps only the
largest, so the rates of all of them come from repeated QR (Benettin et al. 1980; Geist, Parlitz & Lauterborn 1990).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

KINDS = ("orthogonal", "gaussian")
SCALES = (0.5, 0.9, 1.0, 1.1, 2.0)


def recurrent_matrix(kind: str, H: int, scale: float, generator: torch.Generator) -> Tensor:
    """W_hh (H, H), float64, its largest singular value ``scale``.

    ``orthogonal``: ``scale`` times a random orthogonal matrix: every singular value, and the modulus of every
    eigenvalue, is ``scale``. ``gaussian``: independent normal entries, scaled: for large H the spectral radius is about
    ``scale / 2`` (singular values reach 2 sd √H, eigenvalues sd √H: Geman 1980; Girko's circular law).
    """
    drawn = torch.randn(H, H, dtype=torch.float64, generator=generator)
    if kind == "orthogonal":
        q, r = torch.linalg.qr(drawn)
        q *= torch.sign(torch.diagonal(r)) * scale
        orthogonal: Tensor = q
        return orthogonal
    if kind != "gaussian":
        raise ValueError(f"kind={kind!r}: not one of {', '.join(KINDS)}")
    drawn *= scale / torch.linalg.matrix_norm(drawn, 2)
    return drawn


def spectral_radius(W: Tensor) -> float:
    """The largest modulus of an eigenvalue."""
    return float(torch.linalg.eigvals(W).abs().max().item())


@dataclasses.dataclass(frozen=True)
class Products:
    """What products of 1 to k Jacobians did.

    Attributes:
        log_norm: (k,) natural logarithm of the spectral norm of each product.
        rates: (H,) growth of each singular direction in nats a step, largest first (finite-time Lyapunov exponents).
    """

    log_norm: Tensor
    rates: Tensor


def products(jacobians: Iterable[Tensor], H: int) -> Products:
    """Multiply J_k ... J_2 J_1, each (H, H), given in the order of time.

    Where a product is exactly zero its logarithm is -inf, and so are the rates from there on.
    """
    whole = Q = torch.eye(H, dtype=torch.float64)
    log_scale, logs, norms, k = 0.0, torch.zeros(H, dtype=torch.float64), [], 0
    for J in jacobians:
        k += 1
        whole = J @ whole
        norm = torch.linalg.matrix_norm(whole, 2)
        if float(norm) == 0.0:
            log_scale = float("-inf")
        else:
            log_scale += float(torch.log(norm))
            whole = whole / norm
        norms.append(log_scale)
        Q, R = torch.linalg.qr(J @ Q)
        logs += torch.log(torch.diagonal(R).abs())
    if not k:
        raise ValueError("products: no Jacobian was given")
    return Products(torch.tensor(norms, dtype=torch.float64), (logs / k).sort(descending=True).values)


def vanilla_jacobians(W: Tensor, steps: int, phi: str, drive: Callable[[int], Tensor], h: Tensor) -> Iterable[Tensor]:
    """The Jacobians ∂h_t/∂h_{t-1} = diag(φ'(W h_{t-1} + drive(t))) W of a vanilla network along its own path.

    Args:
        phi: ``linear`` or ``tanh``. drive: t to W_xh x_t (H,). h: (H,) the state at the start.
    """
    for t in range(steps):
        a = W @ h + drive(t)
        h = torch.tanh(a) if phi == "tanh" else a
        yield (1 - h * h)[:, None] * W if phi == "tanh" else W


def lstm_jacobians(
    step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], h: Tensor, c: Tensor, steps: int
) -> Iterable[Tensor]:
    """The (2H, 2H) Jacobians of s = (h, c) along its path: h and c are independent inputs of each step."""
    from torch.func import jacrev

    H = len(h)

    def joint(s: Tensor) -> Tensor:
        return torch.cat(step(s[:H], s[H:]))

    s = torch.cat((h, c))
    for _ in range(steps):
        yield jacrev(joint)(s).detach()
        s = joint(s).detach()
