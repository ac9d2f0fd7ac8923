"""``srkd schema``: the JSON schema of an options file or a table, from which editors complete keys."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from srkd_plugin.cli.parser import Parser, describe

DESCRIPTION = """\
Write the JSON schema of an options file, or of a table's with --table, from which editors complete keys and show what
they mean. A file names it in its first line: # yaml-language-server: $schema=srkd.schema.json
"""
EXAMPLES = """\
srkd schema
srkd schema --out options/srkd.schema.json
srkd schema --table --out options/srkd-table.schema.json
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd schema``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    parser.add_argument("--table", action="store_true", help="that of a table's file, as srkd table takes it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write to (default: print it)")


def _run(args: argparse.Namespace) -> int:
    from srkd_plugin.options.schema import json_schema
    from srkd_plugin.tables.table_sections import table_schema
    from srkd_plugin.utils.files import write_json

    schema = table_schema() if args.table else json_schema()
    if args.out is None:
        print(json.dumps(schema, indent=2))
        return 0
    write_json(args.out, schema)
    print(args.out)
    return 0
