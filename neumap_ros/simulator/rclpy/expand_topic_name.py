"""Relative and private names."""

from __future__ import annotations


def expand_topic_name(topic_name: str, node_name: str, node_namespace: str) -> str:
    """``topic_name`` from the root on; not checked."""
    space = "" if node_namespace == "/" else node_namespace
    if topic_name.startswith("~"):
        topic_name = f"{space}/{node_name}{topic_name[1:]}"
    for key, value in (("{node}", node_name), ("{ns}", node_namespace), ("{namespace}", node_namespace)):
        topic_name = topic_name.replace(key, value)
    return topic_name if topic_name.startswith("/") else f"{space}/{topic_name}"
