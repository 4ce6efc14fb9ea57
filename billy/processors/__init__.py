"""Adapters to payment processors: plain values in, plain values out; no models, no database."""
