"""Owns the command `securevqa`, and `python -m securevqa`."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

EXIT_INTERRUPTED = 130  # as `pipeline.commands.terminal`, which may not be imported yet


def _end(_number: int, _frame: object) -> None:
    """End at once: an exception would be shown or lost by what Python does while it imports."""
    os.write(2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def main() -> None:
    """Run the command line; an interruption is a line and an exit code, also before and after it."""
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as a shell's job in the background
    if not is_ignored:
        signal.signal(signal.SIGINT, _end)
    try:
        from pipeline.cli import main as run  # noqa: PLC0415 - an interruption may come while it is imported

        if not is_ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(EXIT_INTERRUPTED)
    finally:  # all is said, and what is left is to end
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(EXIT_INTERRUPTED))


if __name__ == "__main__":
    main()
