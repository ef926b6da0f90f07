"""Quality of service."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from neumap_ros.simulator.rclpy.duration import Duration


class HistoryPolicy(IntEnum):
    """How many messages are kept."""

    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class ReliabilityPolicy(IntEnum):
    """Whether messages may be lost."""

    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class DurabilityPolicy(IntEnum):
    """Whether those who come late get old messages."""

    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class LivelinessPolicy(IntEnum):
    """How a publisher shows that it is alive."""

    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5


class QoSPolicyKind(IntEnum):
    """Kinds of policies, for events."""

    INVALID = 1
    DURABILITY = 2
    DEADLINE = 4
    LIVELINESS = 8
    RELIABILITY = 16
    HISTORY = 32
    LIFESPAN = 64


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy


class InvalidQoSProfileException(Exception):  # noqa: N818
    """A profile without what it must have."""

    def __init__(self, *args: object) -> None:
        super().__init__("Invalid QoSProfile", *args)


DEFAULTS: dict[str, Any] = {
    "history": HistoryPolicy.KEEP_LAST,
    "depth": 10,
    "reliability": ReliabilityPolicy.RELIABLE,
    "durability": DurabilityPolicy.VOLATILE,
    "lifespan": Duration(),
    "deadline": Duration(),
    "liveliness": LivelinessPolicy.SYSTEM_DEFAULT,
    "liveliness_lease_duration": Duration(),
    "avoid_ros_namespace_conventions": False,
}


class QoSProfile:
    """Which messages get from whom to whom, and how many are kept.

    Needs ``depth``, or a ``history`` other than KEEP_LAST (InvalidQoSProfileException). Wrong types are
    AssertionErrors, as in rclpy.
    """

    history: HistoryPolicy
    depth: int
    reliability: ReliabilityPolicy
    durability: DurabilityPolicy
    lifespan: Duration
    deadline: Duration
    liveliness: LivelinessPolicy
    liveliness_lease_duration: Duration
    avoid_ros_namespace_conventions: bool

    def __init__(self, **kwargs: Any) -> None:
        unknown = kwargs.keys() - DEFAULTS.keys()
        if unknown:
            raise AssertionError(f"Invalid arguments passed to constructor: {sorted(unknown)}")
        if "depth" not in kwargs:
            if "history" not in kwargs:
                raise InvalidQoSProfileException("History and/or depth settings are required.")
            if kwargs["history"] == HistoryPolicy.KEEP_LAST:
                raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        for name, default in DEFAULTS.items():
            value = kwargs.get(name, default)
            if not isinstance(value, type(default)):
                raise AssertionError(f"{name} must be a {type(default).__name__}, not {value!r}")
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QoSProfile):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in DEFAULTS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"QoSProfile({', '.join(f'{name}={getattr(self, name)!r}' for name in DEFAULTS)})"


qos_profile_default = QoSProfile(depth=10)
qos_profile_system_default = QoSProfile(
    history=HistoryPolicy.SYSTEM_DEFAULT,
    depth=0,
    reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
qos_profile_sensor_data = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = QoSProfile(depth=10)
qos_profile_parameters = QoSProfile(depth=1000)
qos_profile_parameter_events = QoSProfile(depth=1000)
qos_profile_rosout_default = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def check_simulated(profile: QoSProfile) -> None:
    """Raises NotImplementedError for what this middleware does not do."""
    if (
        profile.reliability == ReliabilityPolicy.BEST_AVAILABLE
        or profile.durability == DurabilityPolicy.BEST_AVAILABLE
        or profile.liveliness not in (LivelinessPolicy.SYSTEM_DEFAULT, LivelinessPolicy.AUTOMATIC)
        or any(span.nanoseconds for span in (profile.lifespan, profile.deadline, profile.liveliness_lease_duration))
    ):
        raise NotImplementedError(
            "the simulator knows neither deadline nor lifespan nor liveliness nor BEST_AVAILABLE as quality of service"
        )


def resolved(profile: QoSProfile, *, of_publisher: bool) -> QoSProfile:
    """The profile with the defaults of the system filled in."""
    reliability, durability = profile.reliability, profile.durability
    if reliability is ReliabilityPolicy.SYSTEM_DEFAULT:
        reliability = ReliabilityPolicy.RELIABLE if of_publisher else ReliabilityPolicy.BEST_EFFORT
    if durability is DurabilityPolicy.SYSTEM_DEFAULT:
        durability = DurabilityPolicy.VOLATILE
    history = HistoryPolicy.KEEP_ALL if profile.history is HistoryPolicy.KEEP_ALL else HistoryPolicy.KEEP_LAST
    return QoSProfile(history=history, depth=profile.depth, reliability=reliability, durability=durability)


def incompatibility(offered: QoSProfile, requested: QoSProfile) -> QoSPolicyKind | None:
    """Which policy keeps a publisher and a subscription of these (resolved) profiles apart."""
    if offered.reliability == ReliabilityPolicy.BEST_EFFORT and requested.reliability == ReliabilityPolicy.RELIABLE:
        return QoSPolicyKind.RELIABILITY
    if offered.durability == DurabilityPolicy.VOLATILE and requested.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        return QoSPolicyKind.DURABILITY
    return None


class QoSCompatibility(IntEnum):
    """Verdict of ``qos_check_compatible``."""

    OK = 0
    WARNING = 1
    ERROR = 2


def qos_check_compatible(publisher_qos: QoSProfile, subscription_qos: QoSProfile) -> tuple[QoSCompatibility, str]:
    """Whether a publisher would reach a subscription, and what speaks against it."""
    check_simulated(publisher_qos)
    check_simulated(subscription_qos)
    problem = incompatibility(
        resolved(publisher_qos, of_publisher=True), resolved(subscription_qos, of_publisher=False)
    )
    if problem is QoSPolicyKind.RELIABILITY:
        return QoSCompatibility.ERROR, "ERROR: Best effort publisher and reliable subscription;"
    if problem is QoSPolicyKind.DURABILITY:
        return QoSCompatibility.ERROR, "ERROR: Volatile publisher and transient local subscription;"
    words = []
    for name in ("reliability", "durability", "liveliness"):
        values = [getattr(profile, name) for profile in (publisher_qos, subscription_qos)]
        if any(value == 0 for value in values):
            left, right = (value.name.lower() for value in values)
            words.append(f"WARNING: Publisher {name} is {left} and subscription {name} is {right};")
    return (QoSCompatibility.WARNING, "".join(words)) if words else (QoSCompatibility.OK, "")
