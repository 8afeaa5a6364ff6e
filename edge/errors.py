"""Every error Gander raises on purpose: one base, and a standard parent where one fits."""

from __future__ import annotations


class GanderError(Exception):
    """Base of all; its text is one line that says what, where, and what would be right."""


class Refused(GanderError, ValueError):
    """Input that is not accepted. Command line: exit status 2, nothing written."""


class ConfigError(Refused):
    """A value in the configuration that cannot be used."""


class SourceError(Refused):
    """A camera, clip, folder or table of pictures that cannot be read."""


class BundleError(Refused):
    """A model bundle that is altered, unknown, unsigned, cut short or unfit."""


class StateError(GanderError):
    """The state directory cannot be used: unwritable, full, newer, or held by another daemon."""


class ControllerError(GanderError):
    """The deterrent's controller cannot be reached or does not answer as it must."""


class NotRunning(GanderError):
    """No daemon answers on this state directory's control socket."""


class CameraStuck(GanderError):
    """A camera that opening again does not mend. Command line: exit status `STATUS`, for systemd to start it anew."""

    STATUS = 75  # sysexits' EX_TEMPFAIL
