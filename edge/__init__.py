"""Gander's appliance: what runs on the Raspberry Pi."""

__version__ = "0.1.0"
