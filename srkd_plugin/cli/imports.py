"""The flag ``--import``: modules of the user's that register what an options file names."""

from __future__ import annotations

from collections.abc import Iterable

from srkd_plugin.cli.parser import Parser


def add_import_flag(parser: Parser) -> None:
    """Add ``--import``, for a command that builds what options name; it calls :func:`import_given` first."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module, or .py file, for the architectures and losses that it registers; can be repeated",
    )


def import_given(names: Iterable[str]) -> None:
    """Register the plugin in BasicSR's registries, then import modules of the user's.

    Raises:
        RegistrationError: The plugin cannot register.
        InputError: A module cannot be imported.
    """
    from srkd_plugin import registration
    from srkd_plugin.utils.user_modules import import_modules

    registration.register()
    import_modules(names)
