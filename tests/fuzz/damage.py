"""Damage to files and their names, as disks, people and the hostile make it."""

from __future__ import annotations

import struct
from random import Random

from tests.fuzz.wellformed import Files

EXTREMES = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
NAMES = (
    "../../escaped",
    "/tmp/escaped",
    "train/../../escaped.png",
    "C:\\escaped.png",
    "..\\escaped.png",
    "train/a/\x00.png",
    "train/a/\x1b[2J.png",
    "train/a/" + "x" * 2000 + ".png",
    "train/" + "d/" * 500 + "0.png",
    "train/a/.hidden.png",
    "train//a///0.png",
    "./train/./a/0.png",
    "train/\u202eevil/0.png",
    "train/ü/0.png",
    "",
    "/",
    "a.zip",
)
DTYPES = (
    "|u1",
    "<i2",
    ">i4",
    "<f8",
    "<f2",
    "|O",
    "<U7",
    "|S3",
    "|b1",
    "<c16",
    "<M8[ns]",
    "|V8",
    "<f16",
)
PICKLES = (
    b"cos\nsystem\n(S'touch escaped'\ntR.",
    b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00true\n\x85R.",
    b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    b"(" * 100_000 + b".",
    b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    b"\x80\x02" + b"N\x85" * 100_000 + b".",
    b"\x80\x02]q\x00h\x00a.",
    b"\x80\x02\x8a\xff" + b"\xff" * 255 + b".",
    b"\x80\x02T\xff\xff\xff\x7f.",
    b"\x80\x04\x8e" + b"\xff" * 8 + b".",
    b"\x80\x04\x96" + b"\xff" * 7 + b"\x7f.",
    b"\x80\x02}(K\x01K\x02K\x03u.",
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R.",
    b"",
    b".",
)


def damaged(random: Random, content: bytes) -> bytes:
    """The same with a few changes, as a bad disk or a person with an editor makes them."""
    changed = bytearray(content)
    for _ in range(random.choice([0, 1, 1, 2, 5, 20])):
        if not changed:
            return b""
        at = random.randrange(len(changed))
        match random.randrange(7):
            case 0:
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + random.randrange(1, 64)]
            case 3:
                changed[at:at] = random.randbytes(random.randrange(1, 64))
            case 4:
                layout = random.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
                number = random.choice(EXTREMES) % 2 ** (8 * struct.calcsize(layout))
                changed[at : at + struct.calcsize(layout)] = struct.pack(layout, number)
            case 5:
                to = random.randrange(len(changed))
                changed[to:to] = changed[at : at + random.randrange(1, 512)]
            case _:
                changed[at : at + 8] = bytes(8)
    return bytes(changed)


def mutated(random: Random, files: Files) -> Files:
    """Some of the files damaged, renamed, left out, exchanged, or of another kind."""
    names = sorted(files)
    victim = random.choice(names)
    match random.randrange(7):
        case 0 | 1:
            return files | {victim: damaged(random, files[victim])}
        case 2:
            return {name: content for name, content in files.items() if name != victim}
        case 3:
            return files | {random.choice(NAMES) or "?": files[victim]}
        case 4:
            return files | {victim: files[random.choice(names)]}
        case 5:
            return files
        case _:
            return files | {victim: random.choice([b"", b"\0", bytes(1000), b"text", *PICKLES])}
