"""How far above the stack pointer a function's frame ends, at one of its addresses.

Compilers write that into .eh_frame for x86-64 (System V ABI, AMD64 supplement, 6.2), also where
they use no frame pointer. Just below the frame's end is the address that it returns to. Formats:
DWARF 5, 6.4 and 7.24; Linux Standard Base 5.0 core, 10.6.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsttrace.enrich.elf import Elf

STACK_POINTER, RETURN_ADDRESS = 7, 16  # DWARF numbers of x86-64 registers
# version; encodings of the start (pcrel|sdata4), the count (udata4), the rows (datarel|sdata4)
USUAL_HEADER = b"\x01\x1b\x03\x3b"
LONGEST = 4096  # bytes of one entry
LARGEST = 1 << 20  # bytes of a frame: a file can say anything
# bytes of a pointer, by the low half of its encoding (DW_EH_PE_)
SIZES = {0x00: 8, 0x03: 4, 0x04: 8, 0x0B: 4, 0x0C: 8}

ADVANCE, ADVANCES = 0x40, {0x02: 1, 0x03: 2, 0x04: 4}  # opcode: bytes of its operand
REMEMBER, RESTORE = 0x0A, 0x0B
DEF_CFA, DEF_CFA_REGISTER, DEF_CFA_OFFSET, UNDEFINED = 0x0C, 0x0D, 0x0E, 0x07
# where registers are saved does not matter here: operands to pass over, u: unsigned, s: signed,
# b: a block
PASSED = {0x00: "", 0x05: "uu", 0x06: "u", 0x08: "u", 0x09: "uu", 0x10: "ub", 0x11: "us"}
PASSED |= {0x14: "uu", 0x15: "us", 0x16: "ub", 0x2E: "u", 0x2F: "uu"}


def frame_size(elf: Elf, address: int) -> int:
    """Bytes from the stack pointer to the end of the frame at this address; 0: not known."""
    row = _row(elf, address)
    if row is None:
        return 0
    start, place = row
    raw = _entry(elf, place)
    cie = _cie(elf, place + 4 - raw.number(4))
    raw.number(cie.pointer_size)
    length = raw.number(cie.pointer_size)
    if not start <= address < start + length:
        return 0
    if cie.augmented:
        raw.take(raw.leb())
    frame = Frame(cie.code_align)
    if not frame.run(cie.program) or not frame.run(raw.rest(), address - start):
        return 0
    if frame.register != STACK_POINTER or frame.offset % 8 or not 0 < frame.offset < LARGEST:
        return 0
    return frame.offset


class Cursor:
    """Takes numbers off bytes, one after the other; ValueError at the end."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, size: int) -> bytes:
        """So many bytes."""
        part = self._raw[self._at : self._at + size]
        if len(part) != size:
            raise ValueError("an entry ends too early")
        self._at += size
        return part

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def leb(self) -> int:
        """A number in LEB128; where signed ones are meant, only its length counts here."""
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def text(self) -> bytes:
        """Up to a NUL."""
        text = self._raw[self._at : self._raw.index(b"\0", self._at)]
        self._at += len(text) + 1
        return text

    def rest(self) -> Cursor:
        """What is left."""
        return Cursor(self._raw[self._at :])

    @property
    def more(self) -> bool:
        """Is something left?"""
        return self._at < len(self._raw)


def _row(elf: Elf, address: int) -> tuple[int, int] | None:
    """Start of the last function that begins before, and place of its entry (.eh_frame_hdr)."""
    base = elf.unwind_table()
    if base is None or elf.at(base, 4) != USUAL_HEADER:
        return None
    low, high = 0, int.from_bytes(elf.at(base + 8, 4), "little")
    while low < high:
        middle = (low + high) // 2
        if base + _signed(elf.at(base + 12 + 8 * middle, 4)) <= address:
            low = middle + 1
        else:
            high = middle
    if not low:
        return None
    row = elf.at(base + 12 + 8 * (low - 1), 8)
    return base + _signed(row[:4]), base + _signed(row[4:])


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _entry(elf: Elf, place: int) -> Cursor:
    length = int.from_bytes(elf.at(place, 4), "little")
    if not 4 <= length <= LONGEST:
        raise ValueError(f"an entry of {length} bytes")
    return Cursor(elf.at(place + 4, length))


@dataclass(frozen=True)
class Cie:
    """What the entries of many functions have in common (common information entry)."""

    code_align: int
    pointer_size: int
    augmented: bool
    program: Cursor


def _cie(elf: Elf, place: int) -> Cie:
    raw = _entry(elf, place)
    if raw.number(4) or raw.number(1) not in (1, 3):
        raise ValueError("no common entry")
    letters = raw.text()
    if letters and (letters[:1] != b"z" or letters.strip(b"zRPL")):
        raise ValueError("an unusual frame")  # S: the frame of a signal
    code_align, _, register = raw.leb(), raw.leb(), raw.leb()
    if register != RETURN_ADDRESS:
        raise ValueError("not of x86-64")
    encoding = 0
    if letters:
        data = Cursor(raw.take(raw.leb()))
        for letter in letters[1:].decode():
            value = data.number(1)
            if letter == "P":
                data.take(SIZES[value & 15])
            elif letter == "R":
                encoding = value
    return Cie(code_align, SIZES[encoding & 15], bool(letters), raw.rest())


class Frame:
    """The rule for the frame's end (canonical frame address): ``register`` plus ``offset``.

    ``register`` is None where the rule is an expression.
    """

    def __init__(self, code_align: int) -> None:
        self._code_align = code_align
        self._saved: list[tuple[int | None, int]] = []
        self.register: int | None = None
        self.offset = 0

    def run(self, program: Cursor, until: int = 0) -> bool:
        """Follow the program up to ``until`` bytes into the function; False if that fails."""
        at = 0
        while program.more:
            opcode = program.number(1)
            kind = opcode & 0xC0
            if kind == ADVANCE or opcode in ADVANCES:
                step = opcode & 63 if kind else program.number(ADVANCES[opcode])
                at += step * self._code_align
                if at > until:
                    return True
            elif kind:  # a register is saved, or has its first rule again
                if kind == 0x80:
                    program.leb()
            elif not self._step(opcode, program):
                return False
        return True

    def _step(self, opcode: int, program: Cursor) -> bool:
        if opcode == DEF_CFA:
            self.register, self.offset = program.leb(), program.leb()
        elif opcode == DEF_CFA_REGISTER:
            self.register = program.leb()
        elif opcode == DEF_CFA_OFFSET:
            self.offset = program.leb()
        elif opcode == REMEMBER:
            self._saved.append((self.register, self.offset))
        elif opcode == RESTORE:
            self.register, self.offset = self._saved.pop()
        elif opcode == UNDEFINED:
            return program.leb() != RETURN_ADDRESS  # the outermost function returns nowhere
        elif opcode in PASSED:
            for kind in PASSED[opcode]:
                size = program.leb()
                if kind == "b":
                    program.take(size)
        else:
            return False  # an expression among others: the frame's end cannot be told
        return True
