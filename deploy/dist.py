"""Packs a built program for another machine: `make dist`.

    dist.py PROGRAM FOLDER

makes two archives in FOLDER. The first has the program without its line tables, the
systemd unit, the script that installs eSpeak NG, completions for three shells, the
README, and the licences of hoiam and of everything that is built into it. The second has
the line tables, which a debugger and the backtraces of panics find where they lie beside
the program. The same program gives the same bytes.
"""

import gzip
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHELLS = {"bash": "hoiam.bash", "zsh": "_hoiam", "fish": "hoiam.fish"}
LICENCE = re.compile(r"(un)?licen[cs]e|copying|notice|copyright", re.IGNORECASE)


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, **options).stdout


def built_in():
    """The packages that the program is made of, hoiam's own left out."""
    target = re.search(r"host: (\S+)", run("rustc", "-vV").decode())[1]
    metadata = json.loads(
        run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target)
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    needs = {
        node["id"]: [
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        for node in metadata["resolve"]["nodes"]
    }
    seen, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package not in seen:
            seen.add(package)
            waiting += needs[package]
    ours = set(metadata["workspace_members"])
    return sorted((packages[id] for id in seen - ours), key=lambda p: (p["name"], p["version"]))


def licence_files(package):
    """Those of a package, and of C sources that it brings."""
    folder = Path(package["manifest_path"]).parent
    found = [path for path in folder.rglob("*") if LICENCE.match(path.name) and path.is_file()]
    return sorted(path for path in found if path.suffix.lower() in ("", ".md", ".txt", ".html"))


def third_party():
    """One text: each package with its licence, and each licence text once."""
    texts, lines = {}, []
    for package in built_in():
        named = []
        for path in licence_files(package):
            text = path.read_text(errors="replace").strip()
            number = texts.setdefault(text, len(texts) + 1)
            if f"[{number}]" not in named:
                named.append(f"[{number}]")
        licence = package["license"] or "see its text"
        lines.append(f"{package['name']} {package['version']}: {licence} {' '.join(named)}".rstrip())
    head = (
        "What is built into hoiam, each with its licence as SPDX has it and the numbers of the\n"
        "texts below that it comes with. Sources: crates of these names and versions.\n"
    )
    parts = [head, "\n".join(lines)]
    parts += [f"[{number}]\n\n{text}" for text, number in texts.items()]
    return f"\n\n{'=' * 78}\n\n".join(parts) + "\n"


def archive(path, folder, modified):
    """The folder as .tar.gz, the same bytes each time."""

    def plain(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = modified
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, modified) as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for entry in [folder, *sorted(folder.rglob("*"))]:
                tar.add(entry, entry.relative_to(folder.parent), recursive=False, filter=plain)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  sha256 {digest}")


def main():
    program, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    version = run(program, "--version").decode().split()[-1]
    name = f"hoiam-{version}-{platform.machine()}-linux"
    modified = int(run("git", "log", "-1", "--format=%ct"))
    folder, lines = out / name, out / f"{name}-lines"
    for old in (folder, lines):
        shutil.rmtree(old, ignore_errors=True)
    (folder / "completions").mkdir(parents=True)
    lines.mkdir()

    packed, tables = folder / "hoiam", lines / "hoiam.debug"
    run("objcopy", "--only-keep-debug", program, tables)
    run("objcopy", "--strip-all", f"--add-gnu-debuglink={tables}", program, packed)
    tables.chmod(0o644)
    packed.chmod(0o755)
    for shell, file in SHELLS.items():
        (folder / "completions" / file).write_bytes(run(packed, "completions", shell))
    for file in ("deploy/hoiam.service", "deploy/install-libespeak.sh", "LICENSE", "README.md"):
        shutil.copy(ROOT / file, folder)
    (folder / "THIRD-PARTY").write_text(third_party())

    print(f"{packed}  {packed.stat().st_size / 1e6:.1f} MB, of {program.stat().st_size / 1e6:.1f}")
    for made in (folder, lines):
        archive(out / f"{made.name}.tar.gz", made, modified)


if __name__ == "__main__":
    main()
