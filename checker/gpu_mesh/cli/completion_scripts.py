"""Writes the completions of bash, zsh and fish from the syntax of the command line. Pure.

The names of nodes come from the inventory when somebody presses Tab; no shell may take them for code.
"""

import re
from collections.abc import Iterable

from gpu_mesh.cli.grammar import Argument, Kind, Syntax, every

_NODES = "gpu-mesh completion nodes 2>/dev/null"


def bash(syntax: Syntax) -> str:
    """Return the completion of bash, which bash-completion loads by the name of the command."""
    values = [option for each in every(syntax) for option in each.options if option.label]
    with_value = sorted({name for option in values for name in option.names})
    paths = sorted({" ".join(each.path) for each in every(syntax) if each.path})
    return "\n".join(
        [
            "# Completion of gpu-mesh for bash, made by: gpu-mesh completion bash",
            "",
            "_gpu_mesh() {",
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}",
            '    local path="" skip="" word index',
            "    local -a words=()",
            "    COMPREPLY=()",
            "    for ((index = 1; index < COMP_CWORD; index++)); do",
            "        word=${COMP_WORDS[index]}",
            '        if [[ -n $skip ]]; then skip=""; continue; fi',
            "        case $word in",
            f"        {_alternatives(with_value)}) skip=1 ;;",
            "        -*) ;;",
            "        *)",
            '            case "${path:+$path }$word" in',
            f'            {_alternatives(paths)}) path="${{path:+$path }}$word" ;;',
            "            esac",
            "            ;;",
            "        esac",
            "    done",
            "    if [[ -n $skip ]]; then",
            "        case $prev in",
            *_bash_values(values),
            "        esac",
            "        return",
            "    fi",
            "    case $path in",
            *(line for each in every(syntax) for line in _bash_case(each)),
            "    esac",
            '    for word in ${words[@]+"${words[@]}"}; do',
            '        if [[ $word == "$cur"* ]]; then COMPREPLY+=("$(printf \'%q\' "$word")"); fi',
            "    done",
            "}",
            "complete -F _gpu_mesh gpu-mesh",
            "",
        ]
    )


def _bash_values(values: Iterable[Argument]) -> list[str]:
    lines = []
    for kind, action in ((Kind.FILE, "-f"), (Kind.FOLDER, "-d")):
        names = sorted({name for option in values if option.kind is kind for name in option.names})
        lines += [
            f"        {_alternatives(names)})",
            "            compopt -o filenames 2>/dev/null",
            f'            mapfile -t COMPREPLY < <(compgen {action} -- "$cur")',
            "            ;;",
        ]
    return lines


def _bash_case(syntax: Syntax) -> list[str]:
    options = " ".join(name for option in syntax.options for name in option.names if name.startswith("--"))
    words = " ".join(
        [verb.name for verb in syntax.verbs] + [word for place in syntax.places for word in place.words]
    )
    pattern = f'"{" ".join(syntax.path)}"'
    kinds = {place.kind for place in syntax.places}
    lines = [f"    {pattern})", f"        if [[ $cur == -* ]]; then words=({options})"]
    if Kind.FILE in kinds:
        lines.append(
            '        else compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur")'
        )
    elif Kind.NODE in kinds:
        lines.append(f"        else mapfile -t words < <({_NODES})")
    elif words:
        lines.append(f"        else words=({words})")
    return [*lines, "        fi", "        ;;"]


def _alternatives(words: Iterable[str]) -> str:
    return " | ".join(f'"{word}"' if " " in word else word for word in words)


def zsh(syntax: Syntax) -> str:
    """Return the completion of zsh, for a folder of its fpath."""
    functions = [line for each in every(syntax) for line in ("", *_zsh_function(each))]
    return "\n".join(
        [
            "#compdef gpu-mesh",
            "# Completion of gpu-mesh for zsh, made by: gpu-mesh completion zsh",
            "",
            "_gpu_mesh_nodes() {",
            "  local -a nodes",
            f'  nodes=("${{(@f)$({_NODES})}}")',
            '  compadd -- "${(@)nodes:#}"',
            "}",
            *functions,
            "",
            '_gpu_mesh "$@"',
            "",
        ]
    )


def _zsh_function(syntax: Syntax) -> list[str]:
    name = "_".join(("_gpu_mesh", *syntax.path)).replace("-", "_")
    specs = [spec for option in syntax.options for spec in _zsh_option(option)]
    for place in syntax.places:
        star = "*" if place.many else ""
        specs.append(_quoted(f"{star}:{_zsh_words(place.label)}:{_zsh_values(place)}"))
    if not syntax.verbs:
        return [f"{name}() {{", *_zsh_arguments(specs, ""), "}"]
    verbs = [_quoted(f"{verb.name}:{verb.about}") for verb in syntax.verbs]
    return [
        f"{name}() {{",
        "  local curcontext=$curcontext state state_descr line ret=1",
        "  typeset -A opt_args",
        *_zsh_arguments([*specs, "'1: :->verb'", "'*:: :->rest'"], " && ret=0", "-C "),
        "  case $state in",
        "  verb)",
        "    local -a verbs",
        f"    verbs=({' '.join(verbs)})",
        "    _describe -t commands command verbs && ret=0",
        "    ;;",
        "  rest)",
        "    case $words[1] in",
        *(f"    {verb.name}) {name}_{verb.name.replace('-', '_')} && ret=0 ;;" for verb in syntax.verbs),
        "    esac",
        "    ;;",
        "  esac",
        "  return ret",
        "}",
    ]


def _zsh_arguments(specs: Iterable[str], end: str, options: str = "") -> list[str]:
    lines = [f"  _arguments {options}-s -S", *(f"    {spec}" for spec in specs)]
    return [f"{line} \\" for line in lines[:-1]] + [lines[-1] + end]


def _zsh_option(option: Argument) -> list[str]:
    value = f":{_zsh_words(option.label)}:{_zsh_values(option)}" if option.label else ""
    others = "*" if option.many else f"({' '.join(option.names)})"
    about = _zsh_words(option.about).replace("[", "\\[").replace("]", "\\]")
    return [_quoted(f"{others}{name}{_zsh_joint(name, option)}[{about}]{value}") for name in option.names]


def _zsh_joint(name: str, option: Argument) -> str:
    """Return how an option's value may be joined to it: ``--for=2h`` as well as ``--for 2h``."""
    return "=" if option.label and name.startswith("--") else ""


def _zsh_values(argument: Argument) -> str:
    return {
        Kind.WORD: f"({' '.join(argument.words)})",
        Kind.FILE: "_files",
        Kind.FOLDER: "_files -/",
        Kind.NODE: "_gpu_mesh_nodes",
    }.get(argument.kind, "")


def _zsh_words(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def fish(syntax: Syntax) -> str:
    """Return the completion of fish, for a folder of its completions."""
    verbs = " ".join(verb.name for verb in syntax.verbs)
    return "\n".join(
        [
            "# Completion of gpu-mesh for fish, made by: gpu-mesh completion fish",
            "",
            f"function {_FIRST}",
            f"    not __fish_seen_subcommand_from {verbs}",
            "end",
            "",
            "complete -c gpu-mesh -f",
            *(line for each in every(syntax) for line in _fish_lines(each)),
            "",
        ]
    )


_FIRST = "__gpu_mesh_needs_command"


def _fish_lines(syntax: Syntax) -> list[str]:
    begin = f"complete -c gpu-mesh -n {_quoted_for_fish(_fish_condition(syntax))}"
    lines = [""]
    lines += [f"{begin} -a {verb.name} -d {_quoted_for_fish(verb.about)}" for verb in syntax.verbs]
    lines += [f"{begin} {values}" for place in syntax.places if (values := _fish_values(place))]
    for option in syntax.options:
        names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
        values = f"-r {_fish_values(option) or '-f'}" if option.label else ""
        about = f"-d {_quoted_for_fish(option.about)}"
        lines.append(" ".join(filter(None, (begin, *names, values, about))))
    return lines


def _fish_condition(syntax: Syntax) -> str:
    if not syntax.path:
        return _FIRST
    seen = [f"__fish_seen_subcommand_from {word}" for word in syntax.path]
    verbs = " ".join(verb.name for verb in syntax.verbs)
    none_yet = [f"not __fish_seen_subcommand_from {verbs}"] if verbs else []
    return "; and ".join([*seen, *none_yet])


def _fish_values(argument: Argument) -> str:
    return {
        Kind.WORD: f"-a {_quoted_for_fish(' '.join(argument.words))}",
        Kind.FILE: "-F",
        Kind.FOLDER: "-a '(__fish_complete_directories)'",
        Kind.NODE: f"-a '({_NODES})'",
    }.get(argument.kind, "")


def _quoted_for_fish(text: str) -> str:
    return "'" + re.sub(r"([\\'])", r"\\\1", text) + "'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
