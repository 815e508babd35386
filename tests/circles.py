#!/usr/bin/env python3
"""No two files of a crate import each other, nor by way of others.

Looks at `use` lines alone, and not at those of tests. `mod x;` is no import: a parent
knows that it has a child, and a child may use what its parent's file has. Nor is what is
imported only to be handed on, and who takes it imports the file that defines it.

    tests/circles.py [SRC]...    folders with a lib.rs; those of this project without any
"""

import re
import sys
from pathlib import Path

# Comments, strings and characters, of which nothing is code.
OPAQUE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\bb?r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\[^\n]+?|[^\\\n])'""", re.S
)
PUB = r"\bpub(?:\([^)]*\))?\s+"
TEST = re.compile(r"#\[cfg\(test\)\]")
INLINE = re.compile(rf"(?:{PUB})?\bmod\s+(\w+)\s*(?=\{{)")
CHILD = re.compile(r"\bmod\s+(\w+)\s*;")
USE = re.compile(rf"({PUB})?\buse\s+([^;]+);")
GROUP = re.compile(r"([\w:]*)\{([^{}]*)\}")


class Module:
    def __init__(self, file, parent=None):
        self.file = file
        self.parent = parent
        self.root = parent.root if parent else self
        self.children = {}
        # Paths by the names that they have here.
        self.names = {}
        # Paths of what the code makes use of.
        self.imports = []
        self.all = parent.all if parent else []
        self.all.append(self)

    def read_file(self, folder):
        code = OPAQUE.sub("0", self.file.read_text())
        self.read(cut(code, TEST)[0], folder)

    def read(self, code, folder):
        """Reads its code, and its children, whose files are in the folder."""
        code, inline = cut(code, INLINE)
        for name, body in inline:
            child = self.children[name] = Module(self.file, self)
            child.read(body[1:-1], folder / name)
        for name in CHILD.findall(code):
            for file in (folder / f"{name}.rs", folder / name / "mod.rs"):
                if file.is_file():
                    child = self.children[name] = Module(file, self)
                    child.read_file(folder / name)
        rest = USE.sub("", code)
        for handed_on, tree in USE.findall(code):
            for name, path in paths(tree):
                self.names[name] = path
                if not handed_on or re.search(rf"\b{name}\b", rest):
                    self.imports.append(path)

    def defining(self, path, seen=()):
        """The module that has what a path names; `None` for another crate's."""
        module = self
        if path[0] == "crate":
            module, path = self.root, path[1:]
        elif path[0] == "self":
            path = path[1:]
        elif path[0] != "super" and path[0] not in self.children | self.names:
            return None
        while path:
            name, *path = path
            if name == "super":
                module = module.parent
            elif name in module.children:
                module = module.children[name]
            elif name in module.names and (module, name) not in seen:
                seen += ((module, name),)
                return module.defining(module.names[name] + path, seen)
            else:
                break
        return module


def cut(code, begin):
    """The code without the items that begin so; those by what `begin` captures."""
    items = []
    while found := begin.search(code):
        depth = 0
        for end in range(found.end(), len(code)):
            depth += (code[end] in "([{") - (code[end] in ")]}")
            if depth < 0 or (depth == 0 and code[end] in ";}"):
                break
        end += depth >= 0
        items.append((found[found.re.groups], code[found.end() : end]))
        code = code[: found.start()] + code[end:]
    return code, items


def paths(tree):
    """The paths of a `use` line, each with the name that it gives."""
    tree = re.sub(r"\s*(::|[{},])\s*", r"\1", tree.strip())
    while found := GROUP.search(tree):
        whole = ",".join(found[1] + part for part in found[2].split(",") if part)
        tree = tree[: found.start()] + whole + tree[found.end() :]
    for part in tree.split(","):
        path, _, name = part.partition(" as ")
        path = path.removesuffix("::self").split("::")
        yield name.strip() or path[-1], path


def imports(src):
    """Of each file the files that it imports."""
    root = Module(src / "lib.rs")
    root.read_file(src)
    files = {module.file: set() for module in root.all}
    for module in root.all:
        found = filter(None, map(module.defining, module.imports))
        files[module.file] |= {target.file for target in found} - {module.file}
    return files


def reached(files, start):
    """The files that a file imports, and what those import, and so on."""
    found, ahead = set(), [start]
    while ahead:
        new = files[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def main():
    here = Path(__file__).parents[1]
    given = [Path(folder) for folder in sys.argv[1:]]
    broken = 0
    for src in given or [here / "src", *sorted(here.glob("crates/*/src"))]:
        files = imports(src)
        reach = {file: reached(files, file) for file in files}
        circles = {frozenset(o for o in reach[file] if file in reach[o]) for file in files}
        for circle in sorted(map(sorted, circles - {frozenset()})):
            broken = 1
            print(f"broken: no two files import each other, in {src}", file=sys.stderr)
            for file in circle:
                others = sorted(str(o.relative_to(src)) for o in files[file].intersection(circle))
                print(f"    {file.relative_to(src)} imports {', '.join(others)}", file=sys.stderr)
    return broken


if __name__ == "__main__":
    sys.exit(main())
