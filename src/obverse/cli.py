"""The command line: obverse demo | fit | explain | evaluate | compare | audit | serve."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

HELP = """usage: obverse COMMAND [options]

What would this image have to look like for the classifier to decide otherwise?

commands:
  demo                  see it work: generated images, a classifier, an explainer, its figures and a report (no download)
  fit classifier        train a small classifier:    obverse fit classifier --data folder:my/images --run-dir runs/net
  fit METHOD            train an explainer for it:   obverse fit syce --data folder:my/images --classifier runs/net \\
                                                         --run-dir runs/syce
  explain RUN IMAGE...  explain images:              obverse explain runs/syce scan1.png scan2.png --out explained
  evaluate RUN          say how far to trust it:     obverse evaluate runs/syce --out report.html
  compare RUN...        several side by side:        obverse compare runs/syce runs/cyce --baseline pgd gradcam
  audit RUN             sanity checks:               obverse audit runs/syce --second-classifier runs/other
  serve [RUN...]        turn the knob in a browser:  obverse serve runs/syce     (without a run: one that comes with it)

`obverse COMMAND --help` lists the options of a command, `obverse fit --help` the methods.
Exit codes: 0 done, 1 failed (the message says why), 2 the command line is wrong.
"""

COMMANDS = ("demo", "fit", "explain", "evaluate", "compare", "audit", "serve")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from obverse import __version__

        print(f"obverse {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"obverse: unknown command {words[0]!r}; expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    run: Callable[[list[str]], int] = import_module(f"obverse.commands.{words[0]}").run
    try:
        return run(words[1:])
    except KeyboardInterrupt as error:
        print(f"obverse: {error or 'stopped'}", file=sys.stderr)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:  # what the library raises at a user
        print(f"obverse: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
