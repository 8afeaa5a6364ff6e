"""Gander's workstation: what makes a model. Imports `edge`; `edge` never imports this."""
