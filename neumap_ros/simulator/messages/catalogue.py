"""Which messages and services there are, by name, and the modules that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import Any

from neumap.errors import DataError, MissingDependencyError
from neumap_ros.simulator.messages import fields
from neumap_ros.simulator.messages.classes import About, Message, make_message, make_service, snake
from neumap_ros.simulator.messages.definitions import DEFAULTS, SERVICES

PACKAGES = (
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "nav_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "visualization_msgs",
)
OWN_PACKAGE = "neumap_ros"
FILLER = "structure_needs_at_least_one_member"


@cache
def typestore() -> Any:
    """The rosbags library's types of ROS 2 Jazzy, with the services of ROS 2 and our own messages added.

    Raises MissingDependencyError without the rosbags library.
    """
    try:
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError:
        raise MissingDependencyError("the simulator needs the rosbags library: pip install 'neumap[bags]'") from None
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(_extra_types())
    return store


def _extra_types() -> dict[str, Any]:
    types: dict[str, Any] = {}
    for path in _own_files("msg"):
        types |= _parse(f"{OWN_PACKAGE}/msg/{path.stem}", path.read_text(encoding="utf-8"))
    for name, text in _service_texts().items():
        request, _, response = text.partition("---")
        types |= _parse(f"{name}_Request", request)
        types |= _parse(f"{name}_Response", response)
    return types


def _parse(name: str, text: str) -> dict[str, Any]:
    from rosbags.interfaces import Nodetype
    from rosbags.typesys import get_types_from_msg

    # The parser looks for messages of the same package beside the one that it reads, so services pass as messages.
    package, _, short = name.split("/")
    ((constants, members),) = get_types_from_msg(text, f"{package}/msg/{short}").values()
    return {name: (constants, members or [(FILLER, (Nodetype.BASE, ("uint8", 0)))])}


@cache
def _service_texts() -> Mapping[str, str]:
    own = {f"{OWN_PACKAGE}/srv/{path.stem}": path.read_text(encoding="utf-8") for path in _own_files("srv")}
    return SERVICES | own


def _own_files(kind: str) -> list[Path]:
    """Our own definitions: beside this package where it was installed, else at the root of the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / kind, package.parents[1] / kind):
        if found := sorted(folder.glob(f"*.{kind}")):
            return found
    raise DataError(f"the .{kind} files of neumap_ros are missing: install the package again")


@cache
def message_class(name: str) -> Any:
    """The class of a message ("std_msgs/msg/Header") or of a half of a service ("std_srvs/srv/Trigger_Request").

    Raises KeyError for an unknown name.
    """
    store = typestore()
    constants, members = store.fielddefs[name]
    package, kind, short = name.split("/")
    base = short.removesuffix("_Request").removesuffix("_Response") if kind == "srv" else short
    named = [(member, description) for member, description in members if member != FILLER]
    about = About(
        name,
        tuple(_field(member, description, DEFAULTS.get(name, {}).get(member)) for member, description in named),
        store.types[name],
        tuple(f"{member}_" if iskeyword(member) else member for member, _ in named),
        padded=len(named) < len(members),
    )
    fixed = {key: bytes((value,)) if base_type == "byte" else value for key, base_type, value in constants}
    return make_message(about, f"{package}.{kind}._{snake(base)}", fixed)


def _field(name: str, description: Any, default: Any = None) -> fields.Field:
    from rosbags.interfaces import Nodetype

    kind, content = description
    if kind == Nodetype.BASE:
        base, bound = content
        return _single(name, base, bound, default)
    if kind == Nodetype.NAME:
        return fields.Nested(name, content, lambda: message_class(content))
    inner, count = content
    member = _field(name, inner)
    size = {"length": count} if kind == Nodetype.ARRAY else {"bound": count}
    if isinstance(member, (fields.Integer, fields.Float)):
        return (fields.FixedNumbers if kind == Nodetype.ARRAY else fields.Numbers)(member, **size)
    if isinstance(member, fields.Byte):
        return fields.SeveralBytes(member, **size)
    if isinstance(member, fields.Boolean):
        return fields.SeveralBooleans(member, **size)
    return fields.Several(member, **size)


def _single(name: str, base: str, bound: int, default: Any) -> fields.Field:
    if base in fields.INTEGERS:
        return fields.Integer(name, base, default)
    if base in fields.FLOATS:
        return fields.Float(name, base, default)
    if base == "bool":
        return fields.Boolean(name, default)
    if base == "byte":
        return fields.Byte(name)
    if base == "string":
        return fields.Text(name, bound)
    raise NotImplementedError(f"fields of type {base}")


@cache
def service_class(name: str) -> Any:
    """The class of a service ("std_srvs/srv/Trigger"). Raises KeyError for an unknown name."""
    package, kind, short = name.split("/")
    request, response = message_class(f"{name}_Request"), message_class(f"{name}_Response")
    return make_service(name, f"{package}.{kind}._{snake(short)}", request, response)


@cache
def modules() -> dict[str, ModuleType]:
    """The modules of all packages, by the names under which nodes import them ("std_msgs", "std_msgs.msg", ...).

    Of neumap_ros only ``neumap_ros.msg`` and ``neumap_ros.srv``. Raises MissingDependencyError without rosbags.
    """
    found: dict[str, ModuleType] = {}
    services = _service_texts()
    for name in (*sorted(typestore().fielddefs), *services):
        package, kind, short = name.split("/")
        if package not in (*PACKAGES, OWN_PACKAGE) or (kind == "srv") != (name in services):
            continue
        module = found.setdefault(f"{package}.{kind}", ModuleType(f"{package}.{kind}"))
        setattr(module, short, service_class(name) if kind == "srv" else message_class(name))
    for name in list(found):
        package, kind = name.split(".")
        if package != OWN_PACKAGE:
            parent = found.setdefault(package, ModuleType(package))
            parent.__path__ = []
            setattr(parent, kind, found[name])
    return found


def is_message_class(value: object) -> bool:
    """Whether it is the class of a message."""
    return isinstance(value, type) and issubclass(value, Message) and value is not Message


def is_service_class(value: object) -> bool:
    """Whether it is the class of a service."""
    return isinstance(value, type) and is_message_class(getattr(value, "Request", None))


def type_name(value: Any) -> str:
    """Full name of the class of a message or service, as in "std_msgs/msg/Header"; AttributeError for others."""
    name: str = value.ABOUT.type_name if is_message_class(value) else value.TYPE_NAME
    return name
