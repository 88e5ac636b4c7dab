"""`atoll completion`: the script that makes a shell complete Atoll's command lines.

Holds: the scripts, and `words`, which they call at each completion. Does not hold: what may come next
(`completing.py`).
"""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="completion",
    usage="completion bash|zsh|fish",
    help="Print the script that makes a shell complete Atoll's command lines:\n"
    "  bash   atoll completion bash > /etc/bash_completion.d/atoll\n"
    '  zsh    atoll completion zsh > "${fpath[1]}/_atoll"\n'
    "  fish   atoll completion fish > ~/.config/fish/completions/atoll.fish",
    least=1,
    most=None,
)

_BASH = """# bash completion for atoll
_atoll() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then
            compopt -o bashdefault -o default
        else
            COMPREPLY+=("$line")
        fi
    done < <(atoll completion words bash -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _atoll atoll
"""
_ZSH = """#compdef atoll
_atoll() {
    local line
    local -a found
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then
            _files
        else
            found+=("$line")
        fi
    done < <(atoll completion words zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe atoll found
}
if [[ ${funcstack[1]} == _atoll ]]; then
    _atoll "$@"
else
    compdef _atoll atoll
fi
"""
_FISH = """# fish completion for atoll
function __atoll_complete
    set -l words (commandline -opc)
    set -l now (commandline -ct)
    for line in (atoll completion words fish -- $words[2..-1] "$now" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$now"
        else
            printf '%s\\n' $line
        end
    end
end
complete -c atoll -f -a '(__atoll_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def main(given: Given) -> int:
    """Run the command."""
    shell, *rest = given.args
    if shell == "words" and rest and rest[0] in SCRIPTS:
        sys.stdout.write(_words(rest[0], rest[1:]))
        return 0
    if shell not in SCRIPTS or rest:
        raise errors.InvalidArgument(f"no completion for {' '.join(given.args)!r}", hint="bash, zsh or fish")
    sys.stdout.write(SCRIPTS[shell])
    return 0


def _words(shell: str, words: list[str]) -> str:
    from atoll.cli.completing import FILES, candidates

    if shell == "bash":
        words = _split(words[0] if words else "")
    found = candidates(words)
    if shell == "bash":
        # Readline has begun a new word at each of these: only what follows the last one is to be replaced.
        last = words[-1] if words else ""
        done = max(last.rfind(":"), last.rfind("=")) + 1
        return "".join([(word if word == FILES else word[done:]) + "\n" for word, _ in found])
    if shell == "zsh":
        return "".join([word + "\n" if word == FILES else f"{_colons(word)}:{text}\n" for word, text in found])
    return "".join([f"{word}\t{text}\n" if text and word != FILES else word + "\n" for word, text in found])


def _colons(word: str) -> str:
    return word.replace("\\", "\\\\").replace(":", "\\:")


def _split(line: str) -> list[str]:
    """The words of a line up to the cursor, without the program; the last one is what is being typed. An open quote
    is taken as it stands."""
    import shlex

    fresh = line[-1:].isspace()
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return [*words[1:], ""] if fresh else words[1:]
