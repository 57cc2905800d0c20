"""Sequence to sequence: an encoder, attention, a decoder."""
