"""What a shell offers for a word: ids, metrics, tags, projects of the catalog.

A completion must never break the line that is typed: whatever is wrong with the catalog, nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from crackseg_tracker.errors import TrackerError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Offer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]

_MOST = 200

#: click's own breaks where bash breaks words (at @, : and =), and at names that a shell must be given in quotes.
BASH = r"""_crackseg_tracker_completion() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() i piece type value
    for ((i = 0; i <= COMP_CWORD; i++)); do  # the words again that the line has between its spaces
        if ((i == 0)) || [[ $rest == [[:space:]]* ]]; then words+=(""); fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        piece=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then piece=$rest; fi
        words[-1]+=$piece
        rest=${rest#"$piece"}
    done
    local typed=${words[-1]}
    local kept=${typed%"$2"}  # bash replaces only $2, what is behind the last of those characters
    if [[ $typed == --*=* ]]; then kept=${kept#"${typed%%=*}="}; fi  # what is offered does not have the --option=
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                if [[ $typed != [\"\']* ]]; then
                    printf -v value %q "$value"
                    value=${value//'\,'/,}  # nobody types the backslash that %q has there, and none is needed
                elif [[ $value == *[\"\'\`\$\\!]* ]]; then
                    continue
                fi
                COMPREPLY+=("${value#"$kept"}")
                ;;
        esac
    done < <(IFS=$'\n' && COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        _CRACKSEG_TRACKER_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _crackseg_tracker_completion crackseg-tracker"""

#: click's own leaves --tag=VALUE to nobody: zsh compares what is offered with the whole word.
ZSH = r"""#compdef crackseg-tracker

_crackseg_tracker_completion() {
    local -a plain described response
    local type value description
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        _CRACKSEG_TRACKER_COMPLETE=zsh_complete "${words[1]}" 2>/dev/null)}")
    if [[ $PREFIX == --*=* ]]; then compset -P 1 '*='; fi  # from here on the word is what is behind --option=
    for type value description in "${response[@]}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $description == _ ]]; then
                    plain+=("$value")
                else
                    described+=("$value:$description")
                fi
                ;;
        esac
    done
    if (( $#described )); then _describe -V unsorted described; fi
    if (( $#plain )); then compadd -V unsorted -a plain; fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _crackseg_tracker_completion "$@"
else
    compdef _crackseg_tracker_completion crackseg-tracker
fi"""

#: click's own leaves --tag=VALUE to nobody, as in zsh, and cuts a name at its first comma.
FISH = r"""function _crackseg_tracker_completion
    set -l option (string match --regex -- '^--[^=]*=' (commandline -t))
    for line in (env _CRACKSEG_TRACKER_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) \
            COMP_CWORD=(commandline -t) crackseg-tracker 2>/dev/null)
        set -l item (string split --max 1 -- , $line)
        switch $item[1]
            case dir
                printf '%s\n' "$option"(__fish_complete_directories $item[2])
            case file
                printf '%s\n' "$option"(__fish_complete_path $item[2])
            case plain
                printf '%s\n' "$option$item[2]"
        end
    end
end

complete --no-files --command crackseg-tracker --arguments '(_crackseg_tracker_completion)'"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def ids(ctx: click.Context, _: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Offer experiments, newest first, and the words with an @."""
    if beginning.startswith("@best:"):
        return _items([(f"@best:{item.value}", item.help) for item in metrics(ctx, _, beginning[6:])])
    found = _asked(
        ctx,
        "SELECT experiment_id, experiment_name || ', ' || status FROM experiments "
        "WHERE substr(experiment_id, 1, ?) = ? ORDER BY experiment_number DESC LIMIT ?",
        beginning,
    )
    special = [("@latest", "the experiment made last"), ("@best:", "the best by a metric")]
    return _items([*found, *(word for word in special if beginning and word[0].startswith(beginning))])


def trashed(ctx: click.Context, _: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Offer what is in the trash, last deleted first."""
    from crackseg_tracker import Catalog

    try:
        with Catalog(ctx.params.get("catalog")) as catalog:
            found = [(row.experiment_id, row.deleted_at) for row in catalog.trash()]
    except (TrackerError, OSError):
        return []
    return _items([one for one in found if one[0].startswith(beginning)][:_MOST])


def _words(view: str, column: str, hint: str = "''") -> Offer:
    """Make what offers the words of a view's column."""
    sql = f"SELECT DISTINCT {column}, {hint} FROM {view} WHERE substr({column}, 1, ?) = ? ORDER BY 1 LIMIT ?"

    def offer(ctx: click.Context, _: click.Parameter, beginning: str) -> list[CompletionItem]:
        return _items(_asked(ctx, sql, beginning))

    return offer


metrics = _words("metric_names", "metric", "mode")
tags = _words("experiment_tags", "tag")
artifact_tags = _words("artifact_tags", "tag")
artifact_types = _words("artifacts", "artifact_type")
params = _words("params", "name")
projects = _words("experiments", "project")


def views(_: click.Context, __: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Offer views."""
    from crackseg_tracker.schema.views import VIEWS

    return _items([(name, "") for name in VIEWS if name.startswith(beginning) and not name.startswith("_")])


def files(_: click.Context, __: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Leave it to the shell to offer files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(beginning, type="file")]


def _asked(ctx: click.Context, sql: str, beginning: str) -> list[tuple[str, str | None]]:
    from crackseg_tracker import Catalog

    try:
        with Catalog(ctx.params.get("catalog")) as catalog:
            return [(row[0], row[1]) for row in catalog.sql(sql, (len(beginning), beginning, _MOST))]
    except (TrackerError, OSError):
        return []


def _items(found: Sequence[tuple[str, str | None]]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    # A name with a line end or an escape would be lines of their own to the shell, or worse.
    return [CompletionItem(word, help=hint or None) for word, hint in found if word.isprintable()]
