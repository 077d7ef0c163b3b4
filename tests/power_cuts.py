"""What a power cut may leave of the files that a program wrote, by a recording of its calls."""

import os

CUTS = ("nothing unsynced", "names before contents")  # what a power cut leaves


class Disk:
    """A file system that forgets what was not synced: files as [bytes now, bytes on the disk], directories likewise."""

    def __init__(self, run):
        self.root = str(run)
        self.directories = {}

    def _place(self, path):
        return os.path.dirname(path), os.path.basename(path)

    def play(self, point):
        """Do one recorded call."""
        name, path, *told = point
        above, last = self._place(path)
        if name == "mkdir":
            self.directories[path] = [{}, {}]
            if path != self.root:
                self.directories[above][0][last] = path
        elif name == "open" and told[0] & (os.O_WRONLY | os.O_RDWR):
            file = self.directories[above][0].setdefault(last, [b"", b""])
            if told[0] & os.O_TRUNC:
                file[0] = b""
        elif name == "ftruncate":
            self.directories[above][0][last][0] = b""
        elif name == "write":
            self.directories[above][0][last][0] += told[0]
        elif name == "fsync":
            thing = self.directories.get(path) or self.directories[above][0][last]
            thing[1] = dict(thing[0]) if isinstance(thing[0], dict) else thing[0]
        elif name in ("rename", "replace"):
            to_above, to_last = self._place(told[0])
            thing = self.directories[above][0].pop(last)
            if isinstance(thing, str):
                self.directories[told[0]] = self.directories[thing]
                thing = told[0]
            self.directories[to_above][0][to_last] = thing
        elif name in ("unlink", "rmdir"):
            self.directories[above][0].pop(last, None)

    def after_cut(self, cut, path=None, prefix=""):
        """Every file that is there after a power cut now, by its path below the run, and None for a directory."""
        path = path or self.root
        if path not in self.directories:
            return {}
        found = {}
        for name, thing in self.directories[path][1 if cut == CUTS[0] else 0].items():
            if isinstance(thing, str):
                found |= {prefix + name: None} | self.after_cut(cut, thing, f"{prefix}{name}/")
            else:
                found[prefix + name] = thing[1]
        return found


def power_cuts(points, run):
    """Every state that a power cut can leave, each once, with the number of the point that it came after."""
    disk, seen = Disk(run), set()
    for n, point in enumerate(points, 1):
        disk.play(point)
        for cut in CUTS:
            state = disk.after_cut(cut)
            key = hash(tuple(sorted(state.items(), key=lambda item: item[0])))
            if key not in seen:
                seen.add(key)
                yield n, cut, state
