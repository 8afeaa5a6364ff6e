"""Every error Gander raises on purpose: one base, and a standard parent where one fits."""

from __future__ import annotations

import errno

_ILL = (errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT)


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
    """A directory or file cannot be used now: full, read-only, damaged, or held by another process."""

    @staticmethod
    def of(error: OSError, text: str) -> StateError:
        """Of a disk that is full, read-only or dying; else it is the wrong place."""
        return StateError(text) if error.errno in _ILL else WrongState(text)


class WrongState(StateError, Refused):
    """It is the wrong directory or file: nothing is there, nobody may write there, or a newer gander wrote it."""


class ControllerError(GanderError):
    """The deterrent's controller cannot be reached or does not answer as it must."""


class NotRunning(GanderError):
    """No daemon answers on this state directory's control socket."""


class CameraStuck(GanderError):
    """A camera that opening again does not mend. Command line: exit status `STATUS`, for systemd to start it anew."""

    STATUS = 75  # sysexits' EX_TEMPFAIL
