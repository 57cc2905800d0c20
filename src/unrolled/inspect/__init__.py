"""Numbers about a network: how far its gradient reaches, how far it remembers, what its units follow.

The functions take any model that holds our layers and return arrays; figures and the HTML page are apart from them.
Names are fetched when they are first used.
"""

from __future__ import annotations

from unrolled.lazy import lazy_names

_HOME: dict[str, str] = {
    "causal_check": "hold",
    "check_finite": "checks",
    "context_loss": "memory",
    "diagram": "diagrams",
    "double": "checks",
    "gates": "saturation",
    "gradient_by_step": "flow",
    "gradient_flow": "flow",
    "holding": "hold",
    "jacobian_spectrum": "spectrum",
    "loss_by_kind": "kinds",
    "make_features": "features",
    "memory_horizon": "memory",
    "read": "reading",
    "record": "recording",
    "similar": "likeness",
    "step_jacobian": "jacobian",
    "truncation_error": "truncation",
    "unit_probe": "units",
    "weights": "tensors",
}
"""Public name to module."""

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
