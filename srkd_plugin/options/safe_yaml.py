"""Reading a BasicSR options file without running it.

BasicSR reads its options files with YAML's unsafe loader: a tag such as ``!!python/object/apply:os.system`` makes the
file a program. Here such a file is refused.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.plain_values import require_plain

REMEDY = "Give a BasicSR options file."


class Loader(yaml.SafeLoader):
    """The safe loader, which takes no tag that makes a Python object, no key twice (YAML forgets the first),
    and no value that its type cannot have.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value, if its text is one of the kind that it looks like or that its tag says."""
        try:
            return super().construct_object(node, deep)
        except OptionsError:
            raise
        except (ValueError, OverflowError, IndexError, KeyError, AttributeError, TypeError) as error:
            kind, line = node.tag.rpartition(":")[2], node.start_mark.line + 1
            value = node.value if isinstance(node, yaml.ScalarNode) else "..."
            remedy = "Write the value itself; text that looks like it in quotes."
            raise OptionsError(f"line {line}", value, f"YAML takes it for a value of type {kind}", remedy) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, if no key is in it twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                where = f"line {key_node.start_mark.line + 1}"
                raise OptionsError(str(key), "...", f"{where} has this key a second time", "Remove one of the two.")
            seen.add(key if isinstance(key, Hashable) else id(key))
        return super().construct_mapping(node, deep)


def read(file: Path, option: str = "-opt") -> dict[str, Any]:
    """The content of an options file.

    Args:
        file: The file.
        option: How the user named it, for errors.

    Raises:
        OptionsError: It is not there, is no YAML, has a key twice, a tag that makes it a program, or values that no
            options file has (:func:`~srkd_plugin.options.plain_values.require_plain`).
    """
    try:
        opt = yaml.load(file.read_text("utf-8"), Loader=Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise OptionsError(option, str(file), f"it cannot be read ({reason})", REMEDY) from error
    except yaml.constructor.ConstructorError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = f"{line}{error.problem}: a tag that makes the file a program, which is not run here"
        raise OptionsError(option, str(file), problem, "Write the value itself, without a !!python tag.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = f"it is not YAML ({where}{getattr(error, 'problem', None) or error})"
        raise OptionsError(option, str(file), problem, "Mend the line, e.g. its indentation.") from error
    except RecursionError as error:
        raise OptionsError(option, str(file), "its sections are nested without end", REMEDY) from error
    if not isinstance(opt, dict):
        raise OptionsError(option, str(file), "it holds no sections", REMEDY)
    require_plain(opt)
    return opt
