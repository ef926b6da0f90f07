"""The files of the ROS 2 package agree with each other and with the node, as far as can be seen without ROS 2."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

import neumap
from neumap.tracking.settings import SPECS
from tools import parameter_files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_XML = ET.parse(ROOT / "package.xml").getroot()
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
LAUNCH_FILE = ROOT / "launch" / "localize.launch.py"
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SUFFIXES = {".md", ".rst", ".toml", ".xml", ".yml", ".yaml", ".cff", ".txt", ".py"}
INTERFACES = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("msg", "srv") for path in (ROOT / folder).glob(f"*.{folder}")
)

LAUNCH_ARGUMENTS = {
    "namespace",
    "map",
    "use_sim_time",
    "autostart",
    "params_file",
    "use_respawn",
    "log_level",
    "camera_names",
    "image",
    "camera_info",
    "image_transport",
    "mode",
}
TOPICS = {
    "image",
    "image/compressed",
    "camera_info",
    "initialpose",
    "~/claim",
    "pose",
    "tf",
    "~/status",
    "/diagnostics",
    "~/inliers",
    "~/debug_image",
    "~/voxels",
    "~/landmarks",
}
SERVICES = {"~/relocalize", "~/load_map", "reinitialize_global_localization", "set_initial_pose"}
# use_sim_time is declared by ROS 2
PARAMETERS: dict[str, Any] = {"use_sim_time": False} | {
    name: list(spec.default) if isinstance(spec.default, tuple) else spec.default for name, spec in SPECS.items()
}


def kind(value: Any) -> Any:
    """The type of a parameter, or that of what a list holds."""
    return [type(each) for each in value[:1]] if isinstance(value, list) else type(value)


# PLACEHOLDER: to be replaced before a release; a domain that cannot exist, which package.xml alone names.
PLACEHOLDER = "neumap-ros.invalid"


def texts(tag: str) -> set[str]:
    return {element.text or "" for element in PACKAGE_XML.findall(tag)}


def snippets(language: str) -> list[Any]:
    return [
        pytest.param(match[2], id=f"{name}-{number}")
        for name, text in DOCS.items()
        for number, match in enumerate(re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", text, re.M | re.S), start=1)
    ]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parameters by their full names, as ROS 2 joins them."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_package_xml_is_of_an_interface_package_of_format_3() -> None:
    assert PACKAGE_XML.tag == "package"
    assert PACKAGE_XML.get("format") == "3"
    assert texts("name") == {"neumap_ros"}
    assert texts("member_of_group") == {"rosidl_interface_packages"}
    assert texts("export/build_type") == {"ament_cmake"}
    assert texts("license") == {"Apache-2.0"}
    assert all(element.get("email") for element in PACKAGE_XML.findall("maintainer"))


def test_both_packages_have_the_same_version() -> None:
    changelog = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    newest = re.search(r"^(\d+\.\d+\.\d+) \(.+\)\n-+$", changelog, re.M)
    assert newest
    # pyproject.toml reads it where we do
    assert texts("version") == {newest[1]} == {neumap.__version__}


def test_cmake_makes_every_interface() -> None:
    assert re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', CMAKE) == INTERFACES


def test_what_interfaces_are_made_of_is_a_dependency() -> None:
    used = set()
    for name in INTERFACES:
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            used |= set(re.findall(r"^(\w+)/\w+", line.partition("#")[0]))
    assert used <= texts("depend")
    assert used <= set(re.findall(r"^find_package\((\w+)", CMAKE, re.M))


def test_what_cmake_finds_is_a_dependency() -> None:
    found = set(re.findall(r"find_package\((\w+)", CMAKE))
    assert found <= texts("depend") | texts("buildtool_depend") | texts("test_depend")


def test_what_is_imported_is_a_dependency_and_nothing_else() -> None:
    modules = set()
    for path in (*(ROOT / "neumap_ros").glob("*.py"), LAUNCH_FILE):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
    # those of ROS; nav2_msgs is optional
    modules -= sys.stdlib_module_names | {"neumap", "neumap_ros", "numpy", "cv2", "nav2_msgs"}
    declared = {name for name in texts("exec_depend") if not name.startswith("python3-")}
    assert declared - {"rosidl_default_runtime"} == modules - texts("depend")


def test_what_the_library_needs_is_a_dependency() -> None:
    # by the names of pip's packages; the others pip installs on a robot too
    keys = {"numpy": "python3-numpy", "scipy": "python3-scipy", "pyyaml": "python3-yaml", "tqdm": "python3-tqdm"}
    from_pip = {"torch", "poselib", "safetensors"}
    table = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\ndependencies = [")[2].partition("]")[0]
    assert set(re.findall(r'"(\w+)', table)) == keys.keys() | from_pip
    assert {*keys.values(), "python3-opencv"} <= texts("exec_depend")


def test_each_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tables = text[text.index("\ndependencies = [") : text.index("\n[project.scripts]")]
    extras = dict(re.findall(r"^(\w+) = (\[.*\])$", tables, re.M))
    packages = {*re.findall(r'"([\w-]+)[\[>=;]', tables)} - {"neumap"}
    depends = {element.text for element in PACKAGE_XML if element.tag.endswith("depend")}
    rows = " ".join(line for line in DOCS["dependencies.md"].partition("## Written")[0].splitlines() if line[:1] == "|")
    named = set(re.findall(r"`([\w-]+)`", rows))
    assert packages | depends | (extras.keys() - {"all"}) == named


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").iterdir()), ids=lambda path: path.name)
def test_executables_can_be_executed(path: Path) -> None:
    assert path.stat().st_mode & 0o111
    source = path.read_text(encoding="utf-8")
    # the interpreter of an active virtual environment, where there is one
    assert source.startswith("#!/usr/bin/env python3\n")
    compile(source, path, "exec")


def test_cmake_installs_both_packages_their_commands_and_the_definitions() -> None:
    installed = dict(re.findall(r"^install\((?:DIRECTORY|PROGRAMS) (.+?)\s+DESTINATION (\S+?)\)?(?:\s|$)", CMAKE, re.M))
    assert installed == {
        "neumap ${PROJECT_NAME}": "${python_install_dir}",
        # where neumap.interfaces looks for them
        "msg srv": "${python_install_dir}/neumap/interfaces",
        "scripts/localizer scripts/neumap": "lib/${PROJECT_NAME}",
        "launch config": "share/${PROJECT_NAME}",
    }


def test_the_launch_file_declares_the_arguments() -> None:
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"))
    declared = [
        ast.literal_eval(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument"
    ]
    assert sorted(declared) == sorted(LAUNCH_ARGUMENTS)
    assert any(isinstance(node, ast.FunctionDef) and node.name == "generate_launch_description" for node in tree.body)


def test_the_launch_file_uses_no_argument_that_is_not_declared() -> None:
    used = set(re.findall(r"""given\[["'](\w+)["']\]""", LAUNCH_FILE.read_text(encoding="utf-8")))
    assert used == LAUNCH_ARGUMENTS


def test_the_launch_file_gives_each_camera_its_topics() -> None:
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if getattr(node, "name", "") in ("camera_remappings", "listed")]
    names: dict[str, Any] = {}
    # the rest of the file takes ROS' own package launch
    exec(compile(ast.Module(functions, []), LAUNCH_FILE, "exec"), names)
    remappings, listed = names["camera_remappings"], names["listed"]
    assert remappings([], listed(""), listed("")) == []
    assert remappings([], ["/camera/image_raw"], ["/camera/camera_info"]) == [
        ("image", "/camera/image_raw"),
        ("image/compressed", "/camera/image_raw/compressed"),
        ("camera_info", "/camera/camera_info"),
    ]
    assert remappings(listed("front, rear"), listed("/a/image_raw,/b/image_raw"), []) == [
        ("front/image", "/a/image_raw"),
        ("front/image/compressed", "/a/image_raw/compressed"),
        ("rear/image", "/b/image_raw"),
        ("rear/image/compressed", "/b/image_raw/compressed"),
    ]
    with pytest.raises(RuntimeError, match=r"camera_info:= has 1 topics for 2 cameras: give one for each of"):
        remappings(["front", "rear"], [], ["/camera_info"])


def test_the_files_that_follow_from_the_parameters_do() -> None:
    remedy = "run tools/parameter_files.py"
    assert parameter_files.CONFIG.read_text(encoding="utf-8") == parameter_files.config(), remedy
    assert parameter_files.TABLE.read_text(encoding="utf-8") == parameter_files.table(), remedy


def test_the_parameter_file_has_every_parameter_with_its_default() -> None:
    (key, node), *others = yaml.safe_load(parameter_files.config()).items()
    assert key == "/**"
    assert not others
    written = flat(node["ros__parameters"])
    assert written == PARAMETERS
    # ROS 2 refuses an int where a double is declared, and takes null for a string
    assert {name: kind(value) for name, value in written.items()} == {
        name: kind(value) for name, value in PARAMETERS.items()
    }


def test_the_parameter_file_for_nav2_has_parameters_of_their_types() -> None:
    (node,) = yaml.safe_load((ROOT / "config" / "nav2.yaml").read_text(encoding="utf-8")).values()
    written = flat(node["ros__parameters"])
    assert written["two_d_mode"] is True
    for name, value in written.items():
        assert SPECS[name].doubt(value) == ""


def test_the_rviz_file_shows_what_the_node_publishes() -> None:
    rviz = yaml.safe_load((ROOT / "config" / "localize.rviz").read_text(encoding="utf-8"))["Visualization Manager"]
    topics = {display["Topic"]["Value"] for display in rviz["Displays"] if "Topic" in display}
    own = ("inliers", "debug_image", "voxels", "landmarks")
    assert topics == {"/map", "/pose"} | {f"/neumap_localizer/{name}" for name in own}
    tools = {tool["Class"]: tool for tool in rviz["Tools"]}
    assert tools["rviz_default_plugins/SetInitialPose"]["Topic"]["Value"] == "/initialpose"


@pytest.mark.parametrize("name", sorted(TOPICS | SERVICES | LAUNCH_ARGUMENTS))
def test_the_reference_names_it(name: str) -> None:
    assert f"`{name}`" in DOCS["ros.md"]


@pytest.mark.parametrize("text", snippets("yaml"))
def test_yaml_to_paste_can_be_read(text: str) -> None:
    for key, node in yaml.safe_load(text).items():
        parameters = flat(node["ros__parameters"])
        assert None not in parameters.values()
        if key == "/**":
            assert {name: kind(value) for name, value in parameters.items()} == {
                name: kind(PARAMETERS[name]) for name in parameters
            }


@pytest.mark.parametrize("text", snippets("python"))
def test_python_to_paste_can_be_compiled(text: str) -> None:
    compile(text, "snippet", "exec")


@pytest.mark.parametrize("text", snippets("xml"))
def test_xml_to_paste_can_be_read(text: str) -> None:
    ET.fromstring(text)


def test_links_between_the_documents_lead_somewhere() -> None:
    for name, text in DOCS.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / "docs" / target).exists(), f"{name}: {target}"


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2])
    outside = dict(
        re.findall(r'"([\w/]+\.md)": "(\w+\.md)"', (ROOT / "tools/site_pages.py").read_text(encoding="utf-8"))
    )
    assert sorted(menu) == sorted([*DOCS, *outside.values()])
    assert all((ROOT / page).is_file() for page in outside)


def test_package_xml_alone_names_the_home_of_the_project() -> None:
    folders = ("docs", ".github", "neumap", "neumap_ros", "launch", "config", "tools", "test")
    files = [*ROOT.glob("*.*"), *(path for name in folders for path in (ROOT / name).rglob("*.*"))]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in SUFFIXES}
    named = {path.relative_to(ROOT).as_posix() for path, text in texts.items() if PLACEHOLDER in text}
    assert named - {"test/test_package_files.py"} == {"package.xml"}
    # rosdep and colcon want a maintainer who can be written to
    (maintainer,) = PACKAGE_XML.findall("maintainer")
    assert maintainer.get("email") == f"maintainers@{PLACEHOLDER}"
    urls = {element.get("type"): element.text for element in PACKAGE_XML.findall("url")}
    home = f"https://{PLACEHOLDER}"
    assert urls == {"website": home, "repository": f"{home}/repository", "bugtracker": f"{home}/issues"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_can_be_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    for job in workflow["jobs"].values():
        assert job["steps"]
        assert job["timeout-minutes"]


def test_the_behaviour_tree_asks_for_errors_that_are_told() -> None:
    root = ET.parse(ROOT / "config" / "nav2_relocalize.xml").getroot()
    trees = {tree.get("ID") for tree in root.iter("BehaviorTree")}
    assert root.get("main_tree_to_execute") in trees
    told = {node.get("error_code_id") for node in root.iter()} - {None}
    assert {node.get("error_code") for node in root.iter("AreErrorCodesPresent")} == told
    assert "config/nav2_relocalize.xml" in DOCS["nav2.md"]
