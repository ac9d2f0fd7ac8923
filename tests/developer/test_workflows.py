"""What runs before a commit, on a push and on a tag: the same checks, on the versions that docs/install.md names."""

import re

import tiny
import yaml

INSTALL = (tiny.PROJECT / "docs/install.md").read_text("utf-8")
PYPROJECT = (tiny.PROJECT / "pyproject.toml").read_text("utf-8")
TEST_SH = (tiny.PROJECT / "scripts/test.sh").read_text("utf-8")


def read(path):
    return yaml.safe_load((tiny.PROJECT / path).read_text("utf-8"))


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_matrix_has_the_versions_that_the_installation_names():
    rows = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    pythons = [row["python"] for row in rows]
    oldest, newest = re.search(r"Python (3\.\d+) to (3\.\d+), torch >= 2\.0", INSTALL).groups()
    assert {oldest, newest} <= set(pythons)
    named = re.search(r"The tests pass with(.*?)\n\n", INSTALL, re.S).group(1)
    assert set(re.findall(r"\b3\.\d+(?= \+)", named)) <= set(pythons)
    torch = re.search(rf"{re.escape(oldest)} \+ (\d\S*)", named).group(1)
    constraints = {row["python"]: f".github/constraints/{row['constraints']}.txt" for row in rows}
    assert f"torch=={torch}\n" in (tiny.PROJECT / constraints[oldest]).read_text()
    assert all("==" not in (tiny.PROJECT / constraints[python]).read_text() for python in pythons if python != oldest)


def test_the_metadata_name_the_same_pythons():
    oldest, newest = re.search(r"Python 3\.(\d+) to 3\.(\d+), torch", INSTALL).groups()
    assert f'requires-python = ">=3.{oldest},<3.{int(newest) + 1}"' in PYPROJECT
    expected = [f"3.{minor}" for minor in range(int(oldest), int(newest) + 1)]
    assert re.findall(r"Python :: (3\.\d+)", PYPROJECT) == expected
    assert f'target-version = "py3{oldest}"' in PYPROJECT


def test_ci_runs_the_script_that_developers_run():
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    assert commands(job)[-1] == "bash scripts/test.sh"
    assert job["env"]["SRKD_PYTHON"] == "python${{ matrix.python }}"
    assert "https://download.pytorch.org/whl/cpu" in job["env"]["SRKD_TORCH_ARGS"]
    setup = (tiny.PROJECT / "scripts/setup_env.sh").read_text("utf-8")
    assert all(variable in setup for variable in job["env"] if variable.startswith("SRKD_"))


def test_a_release_is_tested_built_and_checked_before_it_is_published():
    release = read(".github/workflows/release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key "on" as true
    jobs = release["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in read(".github/workflows/ci.yml")[True]
    assert {"python -m build", "python -m twine check --strict dist/*"} <= set(commands(jobs["build"]))
    assert set(jobs["publish"]["needs"]) == {"test", "build"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert release["permissions"] == {"contents": "read"}


def test_an_ignored_type_error_names_its_code_and_its_reason():
    for file in (tiny.PROJECT / "srkd_plugin").rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            if "type: ignore" in line:
                assert re.search(r"# type: ignore\[[a-z-]+\]  # \w+", line), f"{file}: {line}"


def test_the_hooks_are_pinned_and_are_what_the_script_runs():
    repos = read(".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"] for repo in repos for hook in repo["hooks"]}
    assert hooks == {"ruff", "ruff-format", "codespell", "mypy", "import-linter"}
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"]) for repo in repos if repo["repo"] != "local")
    run = re.findall(r'^(?:\w+=\S+ )?"\$bin/([\w-]+)" ?(\S*)', TEST_SH, re.M)
    assert {("ruff", "check"), ("ruff", "format"), ("codespell", ""), ("mypy", ""), ("lint-imports", "")} <= set(run)
    for tool in ("ruff", "codespell", "mypy", "import-linter", "pytest-cov"):
        assert re.search(rf'^    "{tool}\b', PYPROJECT, re.M), f"{tool} is not in the extra test"
