"""The documents as a site, for `make docs`: site.py prepare BOOK MANUAL, and after mdBook site.py check SITE.

prepare puts what mdBook is to read into BOOK: the documents, under their paths here, so that their links lead where
they lead in the sources; the files that they link to, which are no documents; for a directory a page that lists it;
and the manual pages of MANUAL, as HTML. check looks whether each link of the site leads to a file that is there, and
to a place in it.
"""

import html
import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)\)")


SUMMARY = ROOT / "packaging/site/SUMMARY.md"


def documents():
    """The chapters, but for the one that is made here. A test holds that all documents are among them."""
    return [ROOT / target for target in LINK.findall(SUMMARY.read_text()) if target != "reference.md"]


def page(title, body):
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>\n'
        f"<body>\n<h1>{html.escape(title)}</h1>\n{body}</body></html>\n"
    )


def list_of(names):
    lines = (f'<li><a href="{urllib.parse.quote(name)}">{html.escape(name)}</a></li>\n' for name in names)
    return f"<ul>\n{''.join(lines)}</ul>\n"


def copy_what_is_linked(source):
    """The files and directories of the project that its documents link to."""
    for document in documents():
        for target in LINK.findall(document.read_text()):
            if "://" in target or target.startswith("#"):
                continue
            path = (document.parent / target.split("#")[0]).resolve()
            if path in documents() or not path.is_relative_to(ROOT):
                continue
            copy = source / path.relative_to(ROOT)
            if path.is_dir():
                names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
                copy.mkdir(parents=True, exist_ok=True)
                for name in names:
                    shutil.copy(path / name, copy / name)
                (copy / "index.html").write_text(page(f"{path.relative_to(ROOT)}/", list_of(names)))
            else:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


def write_manual(manual, target):
    """Each page as HTML, and a list of them by sections. Returns how many there are."""
    sections = []
    count = 0
    for directory in sorted(manual.glob("man?")):
        names = sorted(entry.name for entry in directory.iterdir())
        (target / directory.name).mkdir(parents=True)
        for name in names:
            arguments = ["mandoc", "-T", "html", directory / name]
            text = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
            text = re.sub(r"<b>([\w-]+)</b>\((\d)\)", lambda found: link_to(found, manual), text)
            (target / directory.name / f"{name}.html").write_text(text)
        links = [f"{directory.name}/{name}.html" for name in names]
        rows = (f'<li><a href="{link}">{name}</a></li>\n' for link, name in zip(links, names))
        sections.append(f"<h2>Section {directory.name[3:]}</h2>\n<ul>\n{''.join(rows)}</ul>\n")
        count += len(names)
    (target / "index.html").write_text(page("Manual pages", "".join(sections)))
    return count


def link_to(found, manual):
    """To another page; those of the system are not here."""
    name = f"man{found[2]}/{found[1]}.{found[2]}"
    return f'<a href="../{name}.html">{found[0]}</a>' if (manual / name).exists() else found[0]


def prepare(book, manual):
    shutil.rmtree(book, ignore_errors=True)
    source = book / "src"
    source.mkdir(parents=True)
    shutil.copy(ROOT / "packaging/site/book.toml", book)
    shutil.copy(SUMMARY, source)
    for document in documents():
        copy = source / document.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # mdBook makes the first page of a README.
        copy.write_text(re.sub(r"\bREADME\.md(?=[)#])", "index.md", document.read_text()))
    copy_what_is_linked(source)
    count = write_manual(manual, source / "man")
    (source / "reference.md").write_text(
        "# Manual pages, the crate, the headers\n\n"
        f"- [Manual pages](man/index.html): {count}, one for each function and type.\n"
        "- [The crate](rust/majjen/index.html), as `cargo doc` shows it: each item with an example.\n"
        "- The headers: [majjen.h](include/majjen.h), [majjen.hpp](include/majjen.hpp),"
        " [majjen-hook.h](hook/majjen-hook.h).\n"
    )


class Page(html.parser.HTMLParser):
    """The links of a page, and the places in it that links may lead to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.places.add(value)
            elif name == "src" or name == "href" and tag in ("a", "link"):
                self.links.append(value or "")


def check(site):
    """All pages but those of `cargo doc`, whose links rustdoc has looked at."""
    pages = {}

    def page_at(path):
        if path not in pages:
            pages[path] = Page(path.read_text(errors="replace"))
        return pages[path]

    broken, count = [], 0
    for path in sorted(site.rglob("*.html")):
        if path.relative_to(site).parts[0] == "rust":
            continue
        for link in page_at(path).links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            name = urllib.parse.unquote(parts.path)
            target = path if not name else (site / name.lstrip("/") if name.startswith("/") else path.parent / name)
            target = pathlib.Path(os.path.normpath(target))
            if target.is_dir():
                target = target / "index.html"
            place = urllib.parse.unquote(parts.fragment)
            if not target.exists():
                broken.append(f"{path.relative_to(site)}: {link}: no such file")
            elif place and target.suffix == ".html" and place not in page_at(target).places:
                broken.append(f"{path.relative_to(site)}: {link}: no such place")
    print("\n".join(broken[:50]), end="\n" if broken else "")
    print(f"{count} links on {len(pages)} pages, {len(broken)} of them broken")
    return 1 if broken or count < 1000 else 0


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    else:
        sys.exit(check(pathlib.Path(sys.argv[2])))
