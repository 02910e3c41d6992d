"""A file of the artifact store with other bytes than it was stored with, until it is put back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

How = Literal["flipped", "cut", "longer", "empty"]


@dataclass(kw_only=True)
class Damage:
    """Changes a file in place, as a failing disk or a stray program would."""

    path: Path
    content: bytes
    how: How

    @classmethod
    def do(cls, path: Path, choose: random.Random) -> Damage:
        """Damage the file in one of the ways. Raises FileNotFoundError."""
        how = choose.choice(get_args(How))
        with path.open("r+b") as file:
            content = file.read()
            damage = cls(path=path, content=content, how=how)
            damage._change(file, choose)
        return damage

    def undo(self) -> None:
        """Put the bytes back, unless the file is gone or has been stored anew."""
        try:
            with self.path.open("r+b") as file:
                if file.read() == self.content:
                    return
                file.seek(0)
                file.write(self.content)
                file.truncate()
        except FileNotFoundError:
            return

    def _change(self, file: BinaryIO, choose: random.Random) -> None:
        size = len(self.content)
        match self.how:
            case "flipped":
                place = choose.randrange(size)
                span = self.content[place : place + 1 + choose.randrange(4096)]
                file.seek(place)
                file.write(bytes(byte ^ 0x55 for byte in span))
            case "cut":
                file.truncate(choose.randrange(1, size) if size > 1 else 0)
            case "longer":
                file.seek(0, 2)
                file.write(choose.randbytes(1 + choose.randrange(4096)))
            case "empty":
                file.truncate(0)
