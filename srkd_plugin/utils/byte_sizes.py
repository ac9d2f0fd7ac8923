"""Sizes of files for people."""

from __future__ import annotations

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def readable_size(count: float) -> str:
    """A number of bytes in the unit in which it is from 1 to 1,000, powers of 1,000 as disks are sold by.

    Example:
        >>> readable_size(512), readable_size(199_000), readable_size(45_070_000_000)
        ('512 bytes', '199.0 kB', '45.1 GB')
    """
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:,.{1 if power else 0}f} {UNITS[power]}"
