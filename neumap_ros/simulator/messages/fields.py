"""The kinds of fields of a message: default, what an assignment accepts and stores, how it is kept on the wire.

The rules are those of the Python that rosidl generates. Where it would send garbage or end the process, because fields
were not checked when they were assigned, ``to_wire`` raises.
"""

from __future__ import annotations

import array
import math
from collections import UserList, UserString
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np

INTEGERS = {
    "int8": ("b", -(2**7), 2**7 - 1),
    "uint8": ("B", 0, 2**8 - 1),
    "char": ("B", 0, 2**8 - 1),
    "int16": ("h", -(2**15), 2**15 - 1),
    "uint16": ("H", 0, 2**16 - 1),
    "int32": ("i", -(2**31), 2**31 - 1),
    "uint32": ("I", 0, 2**32 - 1),
    "int64": ("q", -(2**63), 2**63 - 1),
    "uint64": ("Q", 0, 2**64 - 1),
}
FLOATS = {"float32": ("f", 3.402823466e38), "float64": ("d", 1.7976931348623157e308)}
IDL_NAMES = {"float64": "double", "float32": "float", "bool": "boolean", "byte": "octet", "char": "uint8"}


class Field:
    """A field of one value; the kinds override what differs.

    ``initial`` makes the default. ``check`` raises AssertionError for what a checked assignment refuses. ``keep`` gives
    what an assignment stores, ``construct`` what the constructor assigns. ``to_wire`` and ``from_wire`` convert to and
    from the values of the rosbags library; ``to_wire`` raises where ROS 2 would not send the value as it is.
    """

    def __init__(self, name: str, idl_type: str, default: Any = None) -> None:
        self.name = name
        self.slot = f"_{name}"
        self.idl_type = idl_type
        self.default = default

    def initial(self) -> Any:
        return self.default

    def construct(self, value: Any) -> Any:
        return value

    def check(self, value: Any) -> None:
        raise NotImplementedError

    def keep(self, value: Any, checked: bool) -> Any:
        return value

    def same(self, one: Any, other: Any) -> bool:
        return bool(one == other)

    def show(self, value: Any) -> str:
        return repr(value)

    def to_wire(self, value: Any) -> Any:
        raise NotImplementedError

    def from_wire(self, value: Any, checked: bool) -> Any:
        return value

    def refuse(self, what: str) -> AssertionError:
        return AssertionError(f"The '{self.name}' field must be {what}")

    def garbage(self, value: Any, needed: str) -> TypeError:
        return TypeError(f"The field '{self.name}' holds {value!r} ({type(value).__name__}): give it {needed}")


class Integer(Field):
    def __init__(self, name: str, base: str, default: int | None = None) -> None:
        super().__init__(name, IDL_NAMES.get(base, base), 0 if default is None else default)
        self.typecode, self.low, self.high = INTEGERS[base]

    def check(self, value: Any) -> None:
        if not isinstance(value, int):
            raise self.refuse("of type 'int'")
        if not self.low <= value <= self.high:
            raise self.refuse(f"an integer in [{self.low}, {self.high}]")

    def to_wire(self, value: Any) -> Any:
        if not isinstance(value, int) or not self.low <= value <= self.high:
            raise SystemError(str(self.garbage(value, f"an int in [{self.low}, {self.high}]")))
        return value


class Float(Field):
    def __init__(self, name: str, base: str, default: float | None = None) -> None:
        super().__init__(name, IDL_NAMES[base], 0.0 if default is None else default)
        self.typecode, self.bound = FLOATS[base]

    def check(self, value: Any) -> None:
        if not isinstance(value, float):
            raise self.refuse("of type 'float'")
        if abs(value) > self.bound and not math.isinf(value):
            raise self.refuse(f"a {self.idl_type} in [{-self.bound}, {self.bound}]")

    def to_wire(self, value: Any) -> Any:
        if not isinstance(value, float):
            raise self.garbage(value, "a float, ROS 2 would send garbage")
        if abs(value) > self.bound:
            return math.copysign(math.inf, value)
        return value


class Boolean(Field):
    def __init__(self, name: str, default: bool | None = None) -> None:
        super().__init__(name, IDL_NAMES["bool"], bool(default))

    def check(self, value: Any) -> None:
        if not isinstance(value, bool):
            raise self.refuse("of type 'bool'")

    def to_wire(self, value: Any) -> Any:
        if not isinstance(value, bool):
            raise self.garbage(value, "a bool, ROS 2 would send False")
        return value


class Byte(Field):
    def __init__(self, name: str) -> None:
        super().__init__(name, IDL_NAMES["byte"], b"\0")

    def check(self, value: Any) -> None:
        if not isinstance(value, (bytes, bytearray)) or len(value) != 1:
            raise self.refuse("of type 'bytes' or 'ByteString' and of length 1")

    def to_wire(self, value: Any) -> Any:
        if not isinstance(value, (bytes, bytearray)) or len(value) != 1:
            raise self.garbage(value, "bytes of length 1, ROS 2 would send garbage")
        return value[0]

    def from_wire(self, value: Any, checked: bool) -> Any:
        return bytes((value,))


class Text(Field):
    def __init__(self, name: str, bound: int = 0) -> None:
        super().__init__(name, f"string<{bound}>" if bound else "string", "")
        self.bound = bound

    def check(self, value: Any) -> None:
        if not isinstance(value, str):
            raise self.refuse("of type 'str'")
        if self.bound and len(value) > self.bound:
            raise self.refuse(f"a string of at most {self.bound} characters")

    def to_wire(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise self.garbage(value, "a str")
        return value.partition("\0")[0]


class Nested(Field):
    """A message in a message. ``made`` gives its class, which may be made later than the field."""

    def __init__(self, name: str, type_name: str, made: Callable[[], Any]) -> None:
        package, _, short = type_name.split("/")
        super().__init__(name, f"{package}/{short}")
        self.short = short
        self.made = made

    def initial(self) -> Any:
        return self.made()()

    def check(self, value: Any) -> None:
        if not isinstance(value, self.made()):
            raise self.refuse(f"a sub message of type '{self.short}'")

    def to_wire(self, value: Any) -> Any:
        if not isinstance(value, self.made()):
            raise self.garbage(value, f"a {self.idl_type}")
        return value._to_wire()

    def from_wire(self, value: Any, checked: bool) -> Any:
        return self.made()._from_wire(value, checked)


class Several(Field):
    """A list of any length, of at most ``bound`` members, or of exactly ``length``; kept as it was given."""

    def __init__(self, member: Field, length: int = 0, bound: int = 0) -> None:
        if length:
            idl_type = f"{member.idl_type}[{length}]"
        else:
            idl_type = f"sequence<{member.idl_type}, {bound}>" if bound else f"sequence<{member.idl_type}>"
        super().__init__(member.name, idl_type)
        self.member = member
        self.length = length
        self.bound = bound

    def initial(self) -> Any:
        return [self.member.initial() for _ in range(self.length)]

    def check(self, value: Any) -> None:
        listed = isinstance(value, (Sequence, Set, UserList)) and not isinstance(value, (str, UserString))
        if not listed:
            raise self.refuse(f"a set or sequence of type '{self.member.idl_type}'")
        if self.length and len(value) != self.length:
            raise self.refuse(f"a sequence of length {self.length}")
        if self.bound and len(value) > self.bound:
            raise self.refuse(f"a sequence of at most {self.bound} members")
        for item in value:
            self.member.check(item)

    def to_wire(self, value: Any) -> Any:
        try:
            items = list(value)
        except TypeError:
            raise self.garbage(value, "a list") from None
        self._check_length(items)
        return [self.member.to_wire(item) for item in items]

    def from_wire(self, value: Any, checked: bool) -> Any:
        return [self.member.from_wire(item, checked) for item in value]

    def _check_length(self, value: Any) -> None:
        if (self.length and len(value) != self.length) or (self.bound and len(value) > self.bound):
            needed = f"exactly {self.length}" if self.length else f"at most {self.bound}"
            raise TypeError(f"The field '{self.name}' holds {len(value)} values: give it {needed}")


class SeveralBytes(Several):
    """Members of type byte: a list of bytes of length 1 in Python, an array of numbers on the wire."""

    def to_wire(self, value: Any) -> Any:
        return np.array(super().to_wire(value), np.uint8)

    def from_wire(self, value: Any, checked: bool) -> Any:
        return [bytes((int(item),)) for item in value]


class SeveralBooleans(Several):
    def to_wire(self, value: Any) -> Any:
        return np.array(super().to_wire(value), np.bool_)

    def from_wire(self, value: Any, checked: bool) -> Any:
        return [bool(item) for item in value]


class Numbers(Several):
    """A sequence of numbers, kept as an array.array."""

    member: Integer | Float

    def initial(self) -> Any:
        return array.array(self.member.typecode)

    def construct(self, value: Any) -> Any:
        return array.array(self.member.typecode, value)

    def check(self, value: Any) -> None:
        if isinstance(value, array.array):
            if value.typecode != self.member.typecode:
                raise self.refuse(f"an array.array() of type code '{self.member.typecode}'")
            if self.bound and len(value) > self.bound:
                raise self.refuse(f"a sequence of at most {self.bound} members")
        elif not (isinstance(value, (bytes, bytearray)) and self.member.typecode == "B" and not self.bound):
            super().check(value)

    def keep(self, value: Any, checked: bool) -> Any:
        if checked and isinstance(value, array.array):
            return value
        return array.array(self.member.typecode, value)

    def show(self, value: Any) -> str:
        return repr(value.tolist())

    def to_wire(self, value: Any) -> Any:
        self._check_length(value)
        return np.frombuffer(value, self.member.typecode) if len(value) else np.empty(0, self.member.typecode)

    def from_wire(self, value: Any, checked: bool) -> Any:
        numbers = array.array(self.member.typecode)
        numbers.frombytes(np.ascontiguousarray(value, self.member.typecode).view(np.uint8).data)
        return numbers


class FixedNumbers(Several):
    """As many numbers as the definition says, kept as a NumPy array."""

    member: Integer | Float

    def initial(self) -> Any:
        return np.zeros(self.length, self.member.typecode)

    def construct(self, value: Any) -> Any:
        numbers = np.array(value, self.member.typecode)
        if numbers.shape != (self.length,):
            raise AssertionError(f"The '{self.name}' field needs {self.length} values, got the shape {numbers.shape}")
        return numbers

    def check(self, value: Any) -> None:
        if not isinstance(value, np.ndarray):
            super().check(value)
        elif value.dtype != np.dtype(self.member.typecode):
            raise self.refuse(f"a numpy.ndarray() of dtype '{np.dtype(self.member.typecode)}'")
        elif value.size != self.length:
            raise self.refuse(f"a numpy.ndarray() of size {self.length}")

    def keep(self, value: Any, checked: bool) -> Any:
        if checked and isinstance(value, np.ndarray):
            return value
        return np.array(value, self.member.typecode)

    def same(self, one: Any, other: Any) -> bool:
        return bool(np.array_equal(one, other))

    def to_wire(self, value: Any) -> Any:
        if value.shape != (self.length,):
            raise TypeError(
                f"The field '{self.name}' has the shape {value.shape}: give it {self.length} values in one row, "
                "ROS 2 would send garbage"
            )
        return np.ascontiguousarray(value)

    def from_wire(self, value: Any, checked: bool) -> Any:
        return np.array(value, self.member.typecode)
