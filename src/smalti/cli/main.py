"""The one binary: finds a command, runs it, turns a user's mistake into one line and exit status 2."""

import difflib
import re
import sys
import warnings
from importlib import import_module
from keyword import iskeyword

import click

import smalti
from smalti import disk, memory
from smalti.cli import streams
from smalti.errors import UserError

COMMANDS = {  # name -> short help; the module smalti.cli.NAME is imported when the command runs
    "demo": "From photographs to new images in minutes, with a report.",
    "plan": "Say what a training takes: memory, time, disk.",
    "train": "Train a tokenizer or a prior from a recipe.",
    "index": "Note where in tar or zip files each image lies.",
    "encode": "Turn a dataset into token shards, which training a prior reads.",
    "reconstruct": "Send images through a tokenizer and back.",
    "sample": "Draw images.",
    "studio": "Open a page to draw with, and an HTTP API.",
    "upscale": "Draw what an image of low resolution may be.",
    "complete": "Keep a part of an image and draw the rest anew.",
    "evaluate": "Say how good a model is, or a folder of images.",
    "compare": "Put evaluations into one table.",
    "recipes": "List the recipes.",
    "models": "List the models that ship with the package.",
    "weights": "List the trained weights of others that losses and metrics use.",
    "doctor": "Say what of this machine, and of what a device computes, is good, slow or wrong.",
    "info": "Say what a model folder, a run folder or another project's model is.",
    "import": "Turn another project's model into a model folder.",
    "export": "Write a model in another project's format.",
}


class Commands(click.Group):
    """Knows the commands by name and help; imports the module of the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name  # no module can be called import
        command: click.Command = getattr(import_module(f"smalti.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Do as click does, with the nearest name for a misspelt command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            remedy = f"did you mean {near[0]}?" if near else "see smalti --help"
            raise UserError(f"one of {', '.join(COMMANDS)}", args[0], remedy)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _refuse_again(command, rest, ctx)
        return name, command, rest


def _refuse_again(command: click.Command, args: list[str], above: click.Context) -> None:
    """UserError for an option that is given twice, of which the last one would count silently."""
    try:
        # below the group's: a command keeps its first context's words for --help
        _, _, given = command.make_parser(click.Context(command, parent=above)).parse_args(list(args))
    except click.UsageError:  # which the command says itself
        return
    options = [param for param in given if isinstance(param, click.Option) and not param.is_eager]
    again = next((param for param in options if options.count(param) > 1 and not param.multiple), None)
    if again is not None:
        option = again.opts[0]
        raise UserError("each option once", f"the option {option} is given twice", f"leave one {option} out")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(smalti.__version__, prog_name="smalti")
def group() -> None:
    """Learn a codebook of visual parts from images, model how they are arranged, draw new images.

    Example: smalti demo
    """


def main() -> None:
    """Entry point of the command `smalti`."""
    streams.outlive()
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"  # one line, as all that it says
    try:
        sys.exit(group(prog_name="smalti", standalone_mode=False))
    except UserError as mistake:
        _complain(mistake)
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
    except click.UsageError as mistake:
        _complain(_one_line(mistake))
    except click.Abort:  # Ctrl-C: the command has said how far it came
        sys.exit(130)
    except memory.KINDS as problem:
        refused, got = disk.refused(problem), memory.asked(problem)
        if refused is not None:
            _complain(disk.mistake(refused, "free some space, or choose another place, and give it again"))
            sys.exit(2)
        if got is None:
            raise
        remedy = "free some, use a smaller model, image or size, or --precision bf16 where the command has it"
        _complain(memory.mistake("this command", got, remedy))
    sys.exit(2)


def _complain(mistake: UserError) -> None:
    click.echo(f"smalti: {' '.join(str(mistake).split())}", err=True)


def _one_line(mistake: click.UsageError) -> UserError:
    """Return what click says of an argument, without the lines on usage that it puts above."""
    command = mistake.ctx.command_path if mistake.ctx else "smalti"
    got = mistake.format_message().rstrip(".").removeprefix("Got ")
    remedy = _as_option(mistake) or _of_others(mistake) or f"see {command} --help"
    return UserError(f"arguments as {command} takes them", got[0].lower() + got[1:], remedy)


def _as_option(mistake: click.UsageError) -> str | None:
    """Return how to write an option that was given as key=value, as the settings of `smalti train` are."""
    said = re.search(r"([\w-]+)=([^\s)]+)", mistake.message)
    if mistake.ctx is None or said is None:
        return None
    option = f"--{said[1].replace('_', '-')}"
    known = {name for param in mistake.ctx.command.params for name in param.opts}
    return f"write {option} {said[2]}" if option in known else None


def _of_others(mistake: click.UsageError) -> str | None:
    """Return the option that other programs, or an earlier smalti, call so."""
    if mistake.ctx is None or not isinstance(mistake, click.NoSuchOption):
        return None
    from smalti.drawing.request import meant  # with torch, which takes seconds: here alone

    ours = meant(mistake.option_name.lstrip("-").replace("-", "_"))
    option = None if ours is None else f"--{ours.replace('_', '-')}"
    known = {name for param in mistake.ctx.command.params for name in param.opts}
    return f"here it is {option}" if option in known else None
