"""What a user can do wrong, as a tree.

    DoremiError              every error below: one line for the user, exit code 2
    |-- ConfigError          a key, value or combination in the configuration
    |-- MixtureError         weights that are not a mixture over the domains at hand
    |-- DataError            a file, line, field or domain of the corpus
    |-- RunError             the run directory: other config, other format, locked, unfinished
    |-- DamageError          a file of ours whose checksum or size is wrong
    |-- TrainingError        a run that cannot go on (loss not finite)
    |-- PeerError            another process of the same run failed, died or hangs
    `-- ExportError          a mixture that the target format cannot hold

    Interrupted              not an error: a signal asked us to stop and the work was saved

Every message names what is wrong, where (file, line, key, domain) and what to do about it.
Anything else that reaches the user is a bug of ours.
"""

from doremi.credentials import masked


class DoremiError(Exception):
    """Base of all errors that a user can cause and mend. `exit_code` is what the command returns."""

    exit_code = 2


class ConfigError(DoremiError):
    """The configuration has an unknown key, a wrong type or an impossible value."""


class MixtureError(DoremiError):
    """Weights that are negative, not finite, all zero, or that name other domains than the data."""


class DataError(DoremiError):
    """A corpus file that cannot be read, a broken line, an empty or too short domain."""


class RunError(DoremiError):
    """The run directory belongs to another config or format, is in use, or lacks a finished stage."""


class DamageError(DoremiError):
    """A file that doremi wrote no longer has the size or checksum that it was recorded with."""


class TrainingError(DoremiError):
    """Training cannot go on, for example because the loss is not finite."""


class PeerError(DoremiError):
    """Another process of the same run failed (it has said why), died, or no longer answers."""


class ExportError(DoremiError):
    """The mixture or corpus cannot be expressed in the format of the target trainer."""


class Interrupted(Exception):
    """A signal asked the run to stop; its state is saved and the same command goes on from there."""

    exit_code = 130


def reason_of(error: BaseException) -> str:
    """Why, for a message that names the file itself: an `OSError` as text would name it a second time."""
    return masked(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def one_line(text: str) -> str:
    """`text` for a message: what comes from files may hold line breaks, and characters that command a terminal.

    Credentials in it are masked.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(masked(text).split()))
