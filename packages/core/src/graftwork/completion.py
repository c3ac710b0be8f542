"""``graftwork completion``: what makes a shell complete commands, options, recipes, references and keys.

A shell's script asks ``graftwork completion SHELL -- WORD...`` with the words up to the cursor. It is not
made with argcomplete or shtab: the core has no dependency but its plugin manager, shtab's scripts know
nothing of what is installed after they were made, and argcomplete would want every command imported. What
is left is small: argparse knows the options, the registry the names.
"""

from __future__ import annotations

import argparse
import shlex

from graftwork.completing import candidates
from graftwork.registry import get_registry

_BASH = r"""
_graftwork() {
    local IFS=$'\n'
    COMPREPLY=($(graftwork completion bash -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    case "${COMPREPLY[0]}" in
        *[=/.]) type compopt >/dev/null 2>&1 && compopt -o nospace ;;
    esac
}
complete -o default -F _graftwork graftwork
"""
_ZSH = r"""
#compdef graftwork
_graftwork() {
    local -a found
    found=(${(f)"$(graftwork completion zsh -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)"})
    if (( $#found )); then
        compadd -S '' -- ${(M)found:#*[=/.]}
        compadd -- ${found:#*[=/.]}
    else
        _files
    fi
}
compdef _graftwork graftwork
"""
_FISH = r"""
function __graftwork_words
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found (graftwork completion fish -- $before[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c graftwork -f -a '(__graftwork_words)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_EPILOG = """to have it in every shell, add this to the file that your shell reads when it starts:
  bash  eval "$(graftwork completion bash)"         in ~/.bashrc
  zsh   eval "$(graftwork completion zsh)"          in ~/.zshrc, after compinit
  fish  graftwork completion fish | source          in ~/.config/fish/config.fish"""


class CompletionCommand:
    """``graftwork completion SHELL``."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.epilog = _EPILOG
        parser.add_argument("shell", metavar="SHELL", choices=list(_SCRIPTS), help="bash, zsh or fish")
        parser.add_argument("words", metavar="WORD", nargs="*", help="what its script asks with, after `--`")

    def run(self, arguments: argparse.Namespace) -> int:
        if not arguments.words:
            print(_SCRIPTS[arguments.shell].strip())
            return 0
        in_bash = arguments.shell == "bash"
        words = _split(arguments.words[0])[1:] if in_bash else arguments.words
        found = candidates(words, get_registry())
        # Of a word with these bash completes what stands behind the last one.
        cut = max(words[-1].rfind("="), words[-1].rfind(":")) + 1 if in_bash and words else 0
        print("".join(f"{candidate[cut:]}\n" for candidate in found), end="")
        return 0


def _split(line: str) -> list[str]:
    """The words of a line, the last of which is empty behind a space."""
    try:
        words = shlex.split(line)
    except ValueError:  # within quotes
        words = line.split()
    return [*words, ""] if line[-1:].isspace() else words
