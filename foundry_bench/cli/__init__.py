"""The command line. Sub-commands are imported when they are called, so that ``--help`` needs nothing but
click.
"""

from __future__ import annotations

import difflib
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module

import click

from foundry_bench import __version__
from foundry_bench.beforehand import plugin_files
from foundry_bench.beforehand.watchdog import process_of_ours
from foundry_bench.border import interruptions
from foundry_bench.cli.last_resort import last_resort, no_interrupt, told, write_nowhere
from foundry_bench.errors import InterruptedWorkError, UserError

COMPLETING = "_FOUNDRY_BENCH_COMPLETE"
"""Set by the script of a shell that completes a command."""
MISTAKE, INTERRUPTED = 2, 130
"""Exit codes."""
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Compare methods on tasks; run again to complete or widen a sweep."),
    "list": ("listing:list_names", "List methods, tasks, teachers, data sets and engines."),
    "info": ("info:info", "Explain one of them: parameters, grid, variants, protocol."),
    "status": ("status:status", "How far a sweep is, from another shell."),
    "report": ("report:report", "Write tables and plots of a results folder."),
    "leaderboard": ("leaderboard:leaderboard", "One leaderboard of one or several results folders."),
    "choose": (
        "choose:choose",
        "The cheapest row that surely keeps so much of the teacher, and how to make it.",
    ),
    "search": ("search:search", "Look for the cheapest student that keeps enough, and confirm it."),
    "compare": ("compare:compare", "What changed between two results folders, and whether it is separable."),
    "clean": ("clean:clean", "Give back disk space of a results folder."),
    "distill": ("distill:distill", "Make one student, train it and save it."),
    "evaluate": ("evaluate:evaluate", "Score one student on one task."),
    "profile": ("profile:profile", "Measure what one student costs beside its teacher."),
    "visualize": ("visualize:visualize", "Draw what one student makes of real clouds."),
    "export": ("export:export", "One student for ONNX Runtime, ExecuTorch or torch.export, verified there."),
    "bench": ("bench:bench", "Time an exported folder on this machine, without PyTorch."),
    "scale": ("scale:scale", "Measure what students cost as clouds grow, under a memory budget."),
    "pretrain": ("pretrain:pretrain", "Pre-train a teacher by self-supervision."),
    "data": ("data:data", "List, prepare and verify data sets."),
    "completion": ("completion:completion", "Print the script that lets a shell complete all of this."),
    "new": ("new:new", "Write a package with a method, task, data set or engine of your own."),
    "check": ("check:check", "Hold a plugin to the rules that the harness relies on."),
}
"""Name -> (module and attribute below ``foundry_bench.cli``, line for the help page)."""


def with_plugins(command: click.Command) -> click.Command:
    """The command, and those below it, with the option ``--plugin`` behind its own."""
    if not any(parameter.name == "plugins" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--plugin", "plugins"],
                multiple=True,
                metavar="FILE",
                is_eager=True,
                expose_value=False,
                callback=_use,
                help="A Python file with methods or tasks of your own, not installed; may be repeated.",
            )
        )
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        with_plugins(below)
    return command


def _use(ctx: click.Context, parameter: click.Parameter, files: tuple[str, ...]) -> None:
    for file in files:
        plugin_files.use(file)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return with_plugins(getattr(import_module(f"{__name__}.{module}"), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(COMMANDS)}"
            raise UserError(f"unknown command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foundry-bench")
def cli() -> None:
    """Compare compression methods for 3D point-cloud foundation models.

    \b
    foundry-bench run --methods all --tasks fewshot
    foundry-bench run --methods 'teacher,foundry[supertokens=4]' --tasks fewshot --dry-run
    foundry-bench report results/fewshot-quick
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 (failed cells), 2 (a mistake the user can mend), 70 (an error of this package),
    130 (interrupted).
    """
    _encode_anything()
    if arguments is None and (shell := os.environ.get(COMPLETING)):
        from foundry_bench.cli.completion import answer

        sys.exit(answer(cli, shell))
    try:
        with process_of_ours() if arguments is None else nullcontext(), plugin_files.used_for_a_while():
            code = _run(arguments)
    except KeyboardInterrupt:  # a second one, on the way out
        code = INTERRUPTED
    except BaseException as error:  # whatever escapes: a person gets one line in any case
        code = last_resort(error)
    if (
        arguments is None
    ):  # this process is ours and at its end; a handler of ours would be taken away before it is
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """The exit code of a command."""
    try:
        with interruptions() as came:
            try:
                code = cli.main(arguments, prog_name="foundry-bench", standalone_mode=False)
            except click.Abort as abort:
                if (error := no_interrupt(abort, came())) is not None:
                    return last_resort(error)
                raise
        sys.stdout.flush()
    except UserError as error:
        return told(str(error), MISTAKE)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 0
    except click.ClickException as error:
        return told(error.format_message(), MISTAKE)
    except (KeyboardInterrupt, click.Abort) as interruption:
        cause = interruption.__cause__ if isinstance(interruption, click.Abort) else interruption
        how = f"; {cause}" if isinstance(cause, InterruptedWorkError) else ""
        click.echo(f"interrupted{how}", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has gone
        write_nowhere(sys.stdout, sys.stderr)
        return 0
    return code if isinstance(code, int) else 0


def _encode_anything() -> None:
    """What a terminal cannot encode is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
