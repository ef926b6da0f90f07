"""Definitions that the rosbags library lacks, as text in the language of .srv files, by their full name."""

from __future__ import annotations

SERVICES = {
    "std_srvs/srv/Empty": """
---
""",
    "std_srvs/srv/SetBool": """
bool data
---
bool success
string message
""",
    "std_srvs/srv/Trigger": """
---
bool success
string message
""",
    "lifecycle_msgs/srv/ChangeState": """
Transition transition
---
bool success
""",
    "lifecycle_msgs/srv/GetAvailableStates": """
---
State[] available_states
""",
    "lifecycle_msgs/srv/GetAvailableTransitions": """
---
TransitionDescription[] available_transitions
""",
    "lifecycle_msgs/srv/GetState": """
---
State current_state
""",
    "rcl_interfaces/srv/DescribeParameters": """
string[] names
---
ParameterDescriptor[] descriptors
""",
    "rcl_interfaces/srv/GetLoggerLevels": """
string[] names
---
LoggerLevel[] levels
""",
    "rcl_interfaces/srv/GetParameterTypes": """
string[] names
---
uint8[] types
""",
    "rcl_interfaces/srv/GetParameters": """
string[] names
---
ParameterValue[] values
""",
    "rcl_interfaces/srv/ListParameters": """
uint64 DEPTH_RECURSIVE=0
string[] prefixes
uint64 depth
---
ListParametersResult result
""",
    "rcl_interfaces/srv/SetLoggerLevels": """
LoggerLevel[] levels
---
SetLoggerLevelsResult[] results
""",
    "rcl_interfaces/srv/SetParameters": """
Parameter[] parameters
---
SetParametersResult[] results
""",
    "rcl_interfaces/srv/SetParametersAtomically": """
Parameter[] parameters
---
SetParametersResult result
""",
    "tf2_msgs/srv/FrameGraph": """
---
string frame_yaml
""",
}

# The rosbags library keeps no default values. This is the only one among the packages that are offered.
DEFAULTS = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}
