"""The command line: ``captum-cnn-ext COMMAND``, one module here per command."""

import argparse
import sys
from collections.abc import Sequence

from captum_cnn_ext import __version__
from captum_cnn_ext.cli import (
    audit,
    bench,
    cam,
    check,
    deconv,
    dream,
    explore,
    list_methods,
    structure,
    synthesize,
    top_patches,
)
from captum_cnn_ext.cli.arguments import in_options
from captum_cnn_ext.cli.parsing import (
    DONE,
    INTERRUPTED,
    PROGRAM,
    WRONG_ARGUMENTS,
    Parser,
    UsageError,
)

COMMANDS = (
    audit,
    check,
    explore,
    cam,
    deconv,
    synthesize,
    dream,
    top_patches,
    bench,
    structure,
    list_methods,
)
EXAMPLES = f"""examples:
  {PROGRAM} audit
      the packaged network on four sample photos, into audit.html and audit.npz
  {PROGRAM} audit --model torchvision:resnet50 --weights DEFAULT --images photos/ \\
      --layer layer3,layer4 --out report.html
  {PROGRAM} audit --model path/net.py:build --weights net.safetensors --class-names names.txt
  {PROGRAM} explore --images photos/
  {PROGRAM} cam --image dog.jpg --methods gradcam,hirescam --out dog.png
  {PROGRAM} structure --model torchvision:resnet18
  {PROGRAM} top-patches --images photos/ --layer _blocks.4
  {PROGRAM} bench --methods gaussian,LayerHiResCam,Occlusion
  {PROGRAM} synthesize --target zebra,espresso
  {PROGRAM} dream --image cat.jpg
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Cost: that of the command.

    Args:
        arguments: what follows the program's name; None takes it from ``sys.argv``.

    Returns:
        0; 1 for a report in which a section failed; 2 for unusable input, with one line on
        stderr; 130 after Ctrl-C. No half-written file is left in any case.

    Raises:
        SystemExit: after ``--help`` and ``--version``.

    Example::

        >>> from captum_cnn_ext.cli import main
        >>> main(["structure", "--model", "no-such-model"])
        2
    """
    options = argparse.Namespace()
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        return code
    except UsageError as error:
        print(f"{PROGRAM}: error: {in_options(str(error), options)}", file=sys.stderr)
        return WRONG_ARGUMENTS
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        sys.stderr.close()
        return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Explain what a convolutional network does with your photos.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
