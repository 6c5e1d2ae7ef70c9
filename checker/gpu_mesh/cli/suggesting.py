"""A parser of command lines that says which command or option was probably meant."""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

_NUMBER = r"-[0-9.]+$"


class SuggestingParser(argparse.ArgumentParser):
    """Ends the process with one line where a word is misspelt, and as usual where something else is wrong."""

    hidden: Collection[str] = ()  # commands that nobody types
    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and accept nothing that is not known: the parser of a command knows best what was meant."""
        self._given = tuple(sys.argv[1:] if args is None else args)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """End the process; of an option that is not known, say which one was probably meant."""
        if option := self._unknown_option():
            from gpu_mesh.text.suggest import did_you_mean  # only for who mistypes

            words = did_you_mean(option, self._option_string_actions, f"see: {self.prog} --help")
            self.exit(2, f"{self.prog} has no option {option}; {words}\n")
        super().error(message)

    def words(self, action: argparse.Action) -> list[str]:
        """Return the words that an argument may be, without those that nobody types; none: it may be any."""
        return [str(each) for each in action.choices or () if each not in self.hidden]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices or self._unknown_option():
            super()._check_value(action, value)
            return
        from gpu_mesh.text.suggest import did_you_mean

        meant = did_you_mean(str(value), self.words(action), f"see: {self.prog} --help")
        what = "command " if is_branch(action) else ""
        self.exit(2, f"{self.prog}: there is no {what}{value!r}; {meant}\n")

    def _unknown_option(self) -> str:
        """Return the first option of this parser's that is not known; "": all are."""
        known = self._option_string_actions
        further = [
            str(name) for action in self._actions if is_branch(action) for name in action.choices or ()
        ]
        for word in self._given:
            option = word.partition("=")[0]
            if word == "--" or word in further:
                break
            if not option.startswith("-") or option == "-" or re.match(_NUMBER, option):
                continue
            is_short = not option.startswith("--") and option[:2] in known
            if not is_short and not any(each.startswith(option) for each in known):
                return option
        return ""


def is_branch(action: argparse.Action) -> bool:
    """Return whether the argument is a word after which another parser goes on."""
    return isinstance(action, argparse._SubParsersAction)
