"""How many parameters a translator has, by formula. No torch here."""

from __future__ import annotations

from unrolled.tasks.language.sizes import recurrent_parameters
from unrolled.tasks.translate.config import TranslateConfig


def count_parameters(sources: int, targets: int, config: TranslateConfig, *, shared: bool) -> int:
    """Parameters over ``sources`` and ``targets`` units.

    Two embeddings (of the target's units, end and start; one where they are ``shared``); a recurrent layer with G
    gates, input I and width H has G*H*(I + H) weights and 2*G*H biases, layer norm 2*G*H gains more and for an
    LSTM 2*H; the attention H*H (general) or 2*H*H + 2*H (additive); the attentional output 2*H*H + H; the head
    (targets+1)*H (none when tied) and targets + 1 biases.
    """
    E, H = config.embedding_size, config.hidden
    total = (targets + 2) * E + (0 if shared else sources * E)
    D = 2 if config.bidirectional else 1
    for layer in range(config.layers):
        total += D * recurrent_parameters(config.cell, H if layer else E, H // D, layer_norm=config.layer_norm)
        inputs = H if layer else E + (H if config.input_feeding else 0)
        total += recurrent_parameters(config.decoder, inputs, H, layer_norm=config.layer_norm)
    total += {"none": 0, "dot": 0, "general": H * H, "additive": 2 * H * H + 2 * H}[config.attention]
    return total + 2 * H * H + H + (targets + 1) + (0 if config.tied else (targets + 1) * H)
