"""A run directory opened for a command: what it says meanwhile, and how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from doremi.errors import Interrupted, PeerError

if TYPE_CHECKING:
    from doremi.cli.display import Display
    from doremi.config import RunConfig
    from doremi.pipeline.workspace import Workspace

RUN_AGAIN = 75  # exit code after any signal but Ctrl-C's: saved, give the same command again (EX_TEMPFAIL)


@contextlib.contextmanager
def opened(
    config: RunConfig,
    *,
    search: bool = False,
    own_model: bool = False,
    joins: bool = False,
    drives: bool = False,
    whole: bool = False,
) -> Iterator[Workspace]:
    """The run directory opened for work; on the way out, how it ended stands in its status file.

    Who `drives` may want workers, and these load while we do. Who does the `whole` run needs all files that it names.
    """
    from doremi.cli.display import Display

    with Display(quiet=int(os.environ.get("RANK", "0")) != 0) as display, _told_by_signal(display):
        display.say("loading torch and transformers ...")
        if drives:
            from doremi.executors.early import begin

            begin(config)
        from doremi import distributed
        from doremi.pipeline.checks import check, check_given, model_remarks
        from doremi.pipeline.workspace import open_workspace

        check(config, search=search)
        if whole:
            check_given(config)
        for remark in model_remarks(config):
            display.say(remark)
        world = distributed.start(config.training.timeout)
        with open_workspace(config, world, display, own_model=own_model, joins=joins) as space:

            def lost(message: str) -> None:
                space.status("failed", display.stage, message, PeerError.exit_code, PeerError.__name__)

            try:
                with world.watched(lost):
                    yield space
            except BaseException as error:
                error = _as_told(error, display)
                stopped, code = isinstance(error, Interrupted), getattr(error, "exit_code", 1)
                state, kind = ("interrupted", None) if stopped else ("failed", type(error).__name__)
                with contextlib.suppress(OSError):  # on a full disk, say
                    space.status(state, display.stage, str(error), code, kind)
                raise error
            space.status("done", display.stage, exit_code=0)
        distributed.stop()


@contextlib.contextmanager
def _told_by_signal(display: Display) -> Iterator[None]:
    """Whoever is stopped before the run directory is open hears it in one line too, with the same exit code."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        raise _as_told(error, display) from None


def _as_told(error: BaseException, display: Display) -> BaseException:
    """What asked to stop, as the command ends with it; any other error is itself."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted("stopped at once. Finished work is kept. Run the same command to resume.")
    if isinstance(error, Interrupted) and display.signal != signal.SIGINT:  # None: another process heard it
        error.exit_code = RUN_AGAIN
    return error
