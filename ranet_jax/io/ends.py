"""Whether a video file ends before its end: what its outermost structure announces against its size."""

import struct
from pathlib import Path
from typing import BinaryIO

_FIRST_ISO_BLOCKS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_GIF = (b"GIF87a", b"GIF89a")
_TRANSPORT_PACKET = 188


def is_iso_file(head: bytes) -> bool:
    """Whether a file with these first bytes (at least 8) is an MP4, MOV or one of their relatives."""
    return head[4:8] in _FIRST_ISO_BLOCKS


def ends_early(path: Path) -> bool:
    """Whether an MP4, MOV, AVI, Matroska, WebM, GIF, PNG or transport stream file is shorter than it says.

    Other formats, and recordings that were never closed, announce no length; of those it says False.

    Args:
        path: a file that exists.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        if head[:4] == b"\x1aE\xdf\xa3":
            return _last_element_ends(file) > size
        if head[:6] in _GIF:
            return not _is_whole_gif(file)
        if head == b"\x89PNG\r\n\x1a\n":
            file.seek(max(0, size - 64))
            return b"IEND" not in file.read()
        length, _ = _transport_packets(file)
        if length:
            return size % length != 0
        return _last_block_ends(file, size) > size


def ends_inside_a_frame(path: Path, stream: int) -> bool:
    """Whether the last frame of a GIF or of an MPEG transport stream is only partly there, as far as that shows.

    The last packet of a frame in a transport stream is stuffed to its full length (ISO/IEC 13818-1, 2.4.3.4): where it
    is not, more was to come.

    Args:
        path: a file that exists, of any format.
        stream: the identifier of the stream of pictures in a transport stream.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(6) in _GIF:
            return not _is_whole_gif(file)
        length, offset = _transport_packets(file)
        for start in range(size // length * length - length, -1, -length) if length else ():
            file.seek(start + offset)
            packet = file.read(_TRANSPORT_PACKET)
            has_payload = packet[3] & 0x10
            if has_payload and ((packet[1] & 0x1F) << 8 | packet[2]) == stream:
                return not _is_stuffed(packet)
    return False


def _transport_packets(file: BinaryIO) -> tuple[int, int]:
    """Length of the packets of a transport stream, and where in them the 188 standard bytes start; 0 of other files."""
    file.seek(0)
    head = file.read(2 * _TRANSPORT_PACKET)
    for offset in (0, 4):  # 4: with a time before each, as cameras record
        length = _TRANSPORT_PACKET + offset
        if head[offset : offset + 1] == b"G" == head[offset + length : offset + length + 1]:
            return length, offset
    return 0, 0


def _is_stuffed(packet: bytes) -> bool:
    has_adaptation_field = packet[3] & 0x20
    if not has_adaptation_field:
        return False
    length = packet[4]
    if length == 0:
        return True
    flags = packet[5]
    needed = 1 + 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return length > needed


def _is_whole_gif(file: BinaryIO) -> bool:
    """Whether a GIF's blocks lead to its trailer (GIF89a, 17 to 27)."""
    file.seek(10)
    flags = (file.read(1) or b"\0")[0]
    file.seek(13 + _colour_table_length(flags))
    while kind := file.read(1):
        if kind == b";":
            return True
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            file.seek(8, 1)
            flags = (file.read(1) or b"\0")[0]
            file.seek(_colour_table_length(flags) + 1, 1)
        else:
            return False
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], 1)
    return False


def _colour_table_length(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _last_block_ends(file: BinaryIO, size: int) -> int:
    """End of the last of the outermost blocks of an MP4, MOV or AVI file; 0 where that cannot be said.

    MP4 and MOV are sequences of a big-endian length, which counts its own header, four letters and content
    (ISO/IEC 14496-12, 4.2); AVI of four letters, a little-endian length and content (RIFF). A length of 0, or
    of all ones in RIFF, stands for "to the end", as in a recording that was never closed.
    """
    start = 0
    while start + 8 <= size:
        file.seek(start)
        header = file.read(16)
        if header[:4] == b"RIFF":
            (content,) = struct.unpack("<I", header[4:8])
            length = 0 if content in (0, 2**32 - 1) else 8 + content
        elif start > 0 or is_iso_file(header):
            (length,) = struct.unpack(">I", header[:4])
            if length == 1 and len(header) == 16:
                (length,) = struct.unpack(">Q", header[8:])
        else:
            return 0
        if length < 8:
            return 0
        start += length
    return start


def _last_element_ends(file: BinaryIO) -> int:
    """End of a Matroska or WebM file's segment; 0 where its length is unknown (RFC 8794, 4 to 6)."""
    file.seek(4)
    header_length = _variable_integer(file)
    if header_length is None:
        return 0
    file.seek(header_length, 1)
    if file.read(4) != b"\x18S\x80g":
        return 0
    length = _variable_integer(file)
    return 0 if length is None else file.tell() + length


def _variable_integer(file: BinaryIO) -> int | None:
    """An integer whose leading zero bits tell its length in bytes; None for all ones, "unknown", or at the end."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - length)) - 1)]) + rest, "big")
    return None if len(rest) < length - 1 or value == (1 << (7 * length)) - 1 else value
