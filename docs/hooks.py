"""What the site makes of files that lie elsewhere in the repository.

README.md becomes the first page, CONTRIBUTING.md and CHANGELOG.rst pages of their own, and
msg/*.msg the page of messages. Links to sources, which a site does not have, become their paths.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
MADE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.rst",
    "messages.md": "msg",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of files outside of docs/."""
    for page in MADE:
        files.append(File.generated(config, page, content=_content(page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to pages of the site, or to nowhere."""
    at = MADE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return relink(markdown, at, page.file.src_uri)


def _content(page: str) -> str:
    if page == "messages.md":
        return messages(sorted((ROOT / "msg").glob("*.msg")))
    text = (ROOT / MADE[page]).read_text("utf-8")
    if page == "changes.md":
        _, _, entries = text.partition("Forthcoming\n-----------\n")
        return f"# Changes\n\n## Forthcoming\n\n{entries.replace('``', '`')}"
    return text


def messages(paths: list[Path]) -> str:
    """Return the page of all messages: each with its first sentence and its definition."""
    parts = [
        "# Messages",
        "Made of the files in `msg/`. What is not known is NaN, an empty list, or as the comment "
        "says.",
    ]
    for path in paths:
        text = path.read_text("utf-8")
        comment = re.match(r"(?:#.*\n)+", text)
        about = " ".join(re.findall(r"# ?(.*)\n", comment.group())) if comment else ""
        rest = text[comment.end() :] if comment else text
        parts += [f"## {path.stem}", about, f"```text\n{rest.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def relink(markdown: str, at: str, page: str) -> str:
    """Return the text with links between repository files as links between pages.

    Parameters
    ----------
    markdown : str
        The text of a page.
    at : str
        Which file it is from, from the repository's root, ``docs/nodes.md`` for instance.
    page : str
        Where it stands in the site, ``nodes.md`` for instance.
    """
    made = {source: name for name, source in MADE.items()}

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, separator, anchor = target.partition("#")
        if not path or re.match(r"\w+:", target):
            return match.group()
        source = _normal(PurePosixPath(at).parent / path)
        if source.startswith("docs/"):
            goal = source.removeprefix("docs/")
        elif source in made:
            goal = made[source]
        elif source.startswith("msg/"):
            goal, separator, anchor = "messages.md", "#", PurePosixPath(source).stem.lower()
        elif (ROOT / source).exists():
            return text if text.startswith("`") else f"{text} (`{source}`)"
        else:
            goal = source  # mkdocs says that there is no such page
        up = "../" * (len(PurePosixPath(page).parts) - 1)
        return f"{mark}[{text}]({up}{goal}{separator}{anchor})"

    return LINK.sub(link, markdown)


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return f"../{path.name}"
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
