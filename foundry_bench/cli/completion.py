"""``foundry-bench completion``: a shell's script, and what it asks this program for at every press of TAB.

The scripts set ``_FOUNDRY_BENCH_COMPLETE`` to the name of their shell and ``COMP_LINE`` to the command up to the cursor.
"""

from __future__ import annotations

import os
import sys

import click
from click.shell_completion import CompletionItem, ShellComplete

BREAKS = "COMP_WORDBREAKS"
"""Characters at which bash begins a word, even in the middle of one as others understand it."""
KINDS = {"file": "files", "dir": "folders"}
"""What the scripts call items that are the shell's own business."""
BASH = """\
_foundry_bench_completion() {
    local kind value
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            open) COMPREPLY+=("$value"); compopt -o nospace 2>/dev/null ;;
            folders) compopt -o plusdirs 2>/dev/null ;;
            files) compopt -o default 2>/dev/null ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        _FOUNDRY_BENCH_COMPLETE=bash "$1" 2>/dev/null)
}
complete -o nosort -F _foundry_bench_completion foundry-bench 2>/dev/null ||
    complete -F _foundry_bench_completion foundry-bench
"""
ZSH = """\
#compdef foundry-bench
_foundry_bench_completion() {
    local kind value
    local -a whole open
    while IFS=$'\\t' read -r kind value; do
        case $kind in
            plain) whole+=("$value") ;;
            open) open+=("$value") ;;
            folders) _path_files -/ ;;
            files) _files ;;
        esac
    done < <(COMP_LINE="${words[1,CURRENT-1]} $PREFIX" _FOUNDRY_BENCH_COMPLETE=zsh $words[1] 2>/dev/null)
    (( $#whole )) && compadd -V names -a whole
    (( $#open )) && compadd -S '' -V names -a open
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _foundry_bench_completion "$@"
else
    compdef _foundry_bench_completion foundry-bench
fi
"""
FISH = """\
function __foundry_bench_completion
    set -l line (commandline -cp)
    for row in (COMP_LINE="$line" _FOUNDRY_BENCH_COMPLETE=fish foundry-bench 2>/dev/null)
        set -l part (string split -m 1 \\t -- $row)
        switch $part[1]
            case plain open
                printf '%s\\n' $part[2]
            case folders
                __fish_complete_directories (commandline -ct)
            case files
                __fish_complete_path (commandline -ct)
        end
    end
end
complete --no-files --command foundry-bench --arguments '(__foundry_bench_completion)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> int:
    """Print the script that lets SHELL complete commands, options, names of methods, tasks, teachers and data sets, parameters
    and their values.

    \b
    foundry-bench completion bash > ~/.local/share/bash-completion/completions/foundry-bench
    foundry-bench completion zsh > ~/.zfunc/_foundry-bench      # a folder of $fpath, before compinit
    foundry-bench completion fish > ~/.config/fish/completions/foundry-bench.fish
    eval "$(foundry-bench completion bash)"                     # for this shell only
    """
    click.echo(SCRIPTS[shell], nl=False)
    return 0


def answer(cli: click.Command, shell: str) -> int:
    """Print what may stand at the end of ``COMP_LINE``: a line for each item, its kind and text. Says nothing where there is
    nothing, or something is wrong: a person is typing."""
    try:
        lines = list(_lines(cli, os.environ.get("COMP_LINE", ""), shell))
    except BaseException:  # whatever it is, it must not be written into somebody's command
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    return 0


def _lines(cli: click.Command, line: str, shell: str) -> list[str]:
    done, typed, quoted = words_of(line)
    option, equals, rest = typed.partition("=")
    before = f"{option}=" if equals and option.startswith("--") else ""
    found = items(cli, [*done[1:], option], rest) if before else items(cli, done[1:], typed)
    kept = 0 if quoted or shell != "bash" else _break(typed)
    texts = ["" if item.type in KINDS else (before + str(item.value))[kept:] for item in found]
    lines = [f"{KINDS.get(item.type, item.type)}\t{text}" for item, text in zip(found, texts, strict=True)]
    return list(dict.fromkeys(lines))


def items(cli: click.Command, done: list[str], typed: str) -> list[CompletionItem]:
    """What may take the place of the word ``typed`` behind the words ``done`` of a command."""
    return ShellComplete(cli, {}, "foundry-bench", "").get_completions(done, typed)


def _break(typed: str) -> int:
    """Characters of a word that bash takes for words before it."""
    marks = os.environ.get(BREAKS, "=:")
    return max((typed.rfind(mark) + 1 for mark in marks), default=0)


def words_of(line: str) -> tuple[list[str], str, bool]:
    """The words of a command before the one that is being typed, that one, and whether it began with a quote that is open
    still."""
    words: list[str] = []
    word: list[str] | None = None
    quote, escaped = "", False
    for char in line:
        if escaped:
            word, escaped = [*(word or []), char], False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            word, quote = (word, "") if char == quote else ([*(word or []), char], quote)
        elif char in "'\"":
            word, quote = word or [], char
        elif char.isspace():
            words += [] if word is None else ["".join(word)]
            word = None
        else:
            word = [*(word or []), char]
    return words, "".join(word or []), bool(quote)
